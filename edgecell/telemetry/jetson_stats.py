"""A Jetson's power mode as jetson-stats tells it, for where nvpmodel's own files cannot be seen: in a container, to which the
service's socket /run/jtop.sock was handed.

Asked in a process of its own: the library starts threads and child processes, unpickles what the service sends
(which is root's, as is its socket), and is under the AGPL.
"""

import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import msgspec

SOCKET = Path("run/jtop.sock")
PATIENCE_S = 20.0
"""It looks for CUDA, OpenCV and JetPack each time that it is opened."""


class _Answer(msgspec.Struct, frozen=True):
    power_mode: str


def power_mode(root: Path) -> str:
    """Name and number of the mode, "" where jetson-stats is not there or does not answer. root: /."""
    if not (root / SOCKET).exists() or importlib.util.find_spec("jtop") is None:
        return ""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in sys.path)}
    command = [sys.executable, "-m", __name__]
    try:
        told = subprocess.run(  # noqa: S603 this very file
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
        )
        return msgspec.json.decode(told.stdout.splitlines()[-1] if told.stdout else b"", type=_Answer).power_mode
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return ""


def ask() -> _Answer:
    """In this process. Raises whatever jetson-stats raises, an ImportError included."""
    with importlib.import_module("jtop").jtop() as board:
        mode = board.nvpmodel
        return _Answer("" if mode is None else f"{mode.name} ({mode.id})")


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        answer = ask()
    os.write(sys.stdout.fileno(), b"\n" + msgspec.json.encode(answer) + b"\n")
