"""A program for test_house: imports every module of edgecell and prints, one a line, whatever else that did.

Seen are files opened, folders made, sockets, processes and signals (by Python's audit events), reads of the environment, and
what is different afterwards: log handlers, OpenCV's log level and threads, threads, warning filters.
"""

import importlib
import logging
import os
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

# First what edgecell stands on: what its libraries do when they are imported is theirs.
import click  # noqa: F401
import cv2
import msgspec  # noqa: F401
import numpy as np  # noqa: F401
import reportlab.graphics.shapes
import reportlab.platypus  # noqa: F401
import rich.live
import rich.progress  # noqa: F401
import starlette.staticfiles  # noqa: F401
import uvicorn.server  # noqa: F401
import zmq  # noqa: F401

PACKAGE = Path(__file__).parents[1] / "edgecell"
EVENTS = (
    "open",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.putenv",
    "os.system",
    "socket.",
    "subprocess.",
    "signal.",
    "shutil.",
)
CODE = (".py", ".pyc", ".so")
"""Files that are opened to import them."""
LOCALE = {"LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"}
"""Read when click translates its own words, as it does for every option that is a path."""


def caller() -> str:
    """File and line of edgecell's code that is running, "" if none is."""
    frame: FrameType | None = sys._getframe(1)
    while frame and not frame.f_code.co_filename.startswith(str(PACKAGE)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def told(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook."""
    if not event.startswith(EVENTS) or (event == "open" and (str(arguments[0]).endswith(CODE))):
        return
    if where := caller():
        print(f"{where}: {event} {arguments}")


class Watched(dict[str, str]):
    """The environment; tells who reads it."""

    def __getitem__(self, key: str) -> str:
        self._tell(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._tell(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._tell(key)
        return super().__contains__(key)

    def _tell(self, key: object) -> None:
        if key not in LOCALE and (where := caller()):
            print(f"{where}: reads {key} from the environment")


def state() -> dict[str, object]:
    loggers = ("", "edgecell", *(name for name in logging.root.manager.loggerDict if name.startswith("edgecell.")))
    return {
        "log handlers": {name: logging.getLogger(name).handlers[:] for name in loggers if logging.getLogger(name).handlers},
        "root log level": logging.root.level,
        "OpenCV's log level": cv2.utils.logging.getLogLevel(),
        "OpenCV's threads": cv2.getNumThreads(),
        "threads": threading.active_count(),
        "warning filters": warnings.filters[:],
        "environment": dict(os.environ),
    }


def main() -> None:
    paths = [path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    before = state()
    os.environ = Watched(os.environ)  # type: ignore[assignment]  # noqa: B003 stands in for the real one on purpose
    sys.addaudithook(told)
    for path in paths:
        importlib.import_module(".".join(path.parts).removesuffix(".__init__"))
    for name, value in state().items():
        if value != before[name]:
            print(f"importing edgecell changed {name}: {before[name]} -> {value}")
    print(f"imported {len(paths)} modules")


if __name__ == "__main__":
    main()
