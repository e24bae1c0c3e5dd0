"""From the start of the process to its first counts on the bus, beside what no such program can do without.

    python -m benchmarks.start --images /tmp/mosaics/575x575

A turn is a bare Python that imports numpy, OpenCV and ONNX Runtime and does nothing else (the fixed work), the same that
opens the two networks as well, and a run: `edgecell run` on files, with a journal, heard by a listener that has been there
from the start, until a message has counted a cell. A window is 0.1 s there, so that the message comes when the first cells
are counted and not at the end of the first second. Seconds by the clock on the wall. The first turn is left out: it fetches
files from the disk and compiles the modules, which pip does when it installs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import zmq

from edgecell.bundle import open_bundle
from edgecell.errors import EdgecellError
from edgecell.messages import NOTICE
from edgecell.wire import CountsMessage, from_wire

PATIENCE_S = 60.0
IMPORTS = "import sys, cv2, numpy, onnxruntime as o\nfor each in sys.argv[1:]: o.InferenceSession(each)"
CELLS, FIELDS = "pbc8", "cells3"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, medians of `repeats` turns. imports_s: of the libraries alone. opened_s: with both networks. ratio,
    ratio_opened: first counts over these, median of the turns. slowest_s: of the first counts."""

    repeats: int
    first_counts_s: float
    slowest_s: float
    imports_s: float
    opened_s: float
    ratio: float
    ratio_opened: float
    notice: str = NOTICE


def measure(folder: Path, repeats: int = 9) -> Start:
    """folder: of frames. Raises RuntimeError where a run counts nothing."""
    models = [str(open_bundle(name).file("u8s8.onnx")) for name in (CELLS, FIELDS)]
    with tempfile.TemporaryDirectory(prefix="compiled-") as compiled:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        calls = (
            lambda: _imports([], environment),
            lambda: _imports(models, environment),
            lambda: _first_counts(folder, environment),
        )
        turns = [tuple(_timed(call) for call in calls) for _ in range(repeats + 1)][1:]
    return Start(
        repeats=repeats,
        first_counts_s=statistics.median(first for _, _, first in turns),
        slowest_s=max(first for _, _, first in turns),
        imports_s=statistics.median(bare for bare, _, _ in turns),
        opened_s=statistics.median(opened for _, opened, _ in turns),
        ratio=statistics.median(first / bare for bare, _, first in turns),
        ratio_opened=statistics.median(first / opened for _, opened, first in turns),
    )


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _imports(models: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run([sys.executable, "-c", IMPORTS, *models], env=environment, check=True)  # noqa: S603 our own words


def _first_counts(folder: Path, environment: Mapping[str, str]) -> None:
    """A run is started, and heard until it has counted a cell."""
    with tempfile.TemporaryDirectory(prefix="start-") as made, zmq.Context() as context, context.socket(zmq.SUB) as heard:
        endpoint, settings = f"ipc://{made}/bus", Path(made) / "run.toml"
        settings.write_text(
            f'source = {{part = "images", path = "{folder}"}}\nmodels = {{nucleated = "{CELLS}"}}\nrun = {{window_s = 0.1}}\n'
            f'publisher = {{endpoint = "{endpoint}"}}\njournal = {{path = "{made}/journal"}}\n'
        )
        heard.setsockopt(zmq.LINGER, 0)
        heard.setsockopt(zmq.SUBSCRIBE, b"counts/")
        heard.setsockopt(zmq.RECONNECT_IVL, 2)
        heard.connect(endpoint)
        line = [sys.executable, "-m", "edgecell", "run", str(settings)]
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(line, env=environment, stdout=nowhere, stderr=nowhere) as run:  # noqa: S603 our own words
            try:
                deadline = time.monotonic() + PATIENCE_S
                while time.monotonic() < deadline:
                    if heard.poll(100):
                        message = from_wire(heard.recv_multipart()[1])
                        if isinstance(message, CountsMessage) and message.cells_total:
                            return
                    elif run.poll() is not None:
                        break
            finally:
                run.kill()
    raise RuntimeError(f"no counts of {folder} in {PATIENCE_S:.0f} s")


def as_text(found: Start) -> str:
    """One sentence."""
    return (
        f"First counts {found.first_counts_s:.2f} s after the process was started, {found.slowest_s:.2f} at most, median of "
        f"{found.repeats} turns; {found.ratio:.1f} times the {found.imports_s:.2f} s that a bare Python takes to import numpy, "
        f"OpenCV and ONNX Runtime, {found.ratio_opened:.1f} times the {found.opened_s:.2f} s with both networks opened as well."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of frames of one microscope")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args(arguments)
    try:
        found = measure(asked.images.resolve(), max(1, asked.repeats))
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(msgspec.to_builtins(found)) if asked.json else f"{as_text(found)} {NOTICE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
