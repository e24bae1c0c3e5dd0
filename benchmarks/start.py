"""From the start of the process to its first counts on the bus, beside what nobody can do without: the imports.

`imports` is a process that loads the libraries of the frame path and opens the two networks, nothing else: the named baseline.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from edgecell.bundle import open_bundle
from edgecell.wire import CountsMessage, from_wire

PATIENCE_S = 60.0
IMPORTS = "import sys, cv2, msgspec, numpy, zmq, onnxruntime as o\nfor each in sys.argv[1:]: o.InferenceSession(each)"
CELLS, FIELDS = "pbc8", "cells3"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds by the clock on the wall, medians of `repeats` in turns. ratio: first counts over imports, of each turn."""

    repeats: int
    first_counts_s: float
    imports_s: float
    ratio: float


def measure(folder: Path, repeats: int = 5) -> Start:
    """folder: of frames. One turn before is not counted: it fetches the files from the disk. Raises RuntimeError."""
    pairs = [(_timed(lambda: _first_counts(folder)), _timed(_imports)) for _ in range(repeats + 1)][1:]
    middle = len(pairs) // 2
    return Start(
        repeats=repeats,
        first_counts_s=sorted(first for first, _ in pairs)[middle],
        imports_s=sorted(imports for _, imports in pairs)[middle],
        ratio=sorted(first / imports for first, imports in pairs)[middle],
    )


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _imports() -> None:
    models = [str(open_bundle(name).file("u8s8.onnx")) for name in (CELLS, FIELDS)]
    subprocess.run([sys.executable, "-c", IMPORTS, *models], check=True)  # noqa: S603 our own words


def _first_counts(folder: Path) -> None:
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
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:  # noqa: S603 our own words
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
