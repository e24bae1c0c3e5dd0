"""The Python binding of GStreamer and Aravis, a package of the system: no index has it in a form that fits their libraries.

An environment made without --system-site-packages does not see it, so it is looked for where the system's python3 has its
packages: of them this lets in `gi` alone, and only for the same version of Python.
"""

import importlib.machinery
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

import pytest

PYTHON = "/usr/bin/python3"
WHERE = "import gi, sys; print(*sys.version_info[:2], gi.__path__[0].rpartition('/')[0])"
ELEMENTS = ("appsink", "fakesrc", "identity", "multifilesrc", "pngdec", "videoconvert", "videotestsrc")


class _OnlyGi:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(name, [self._folder]) if name == "gi" else None


@cache
def gst() -> Any:
    """GStreamer, ready. Skips the test, with a reason, where it or one of the elements is missing."""
    return _ready(_gst, "GStreamer")


@cache
def aravis() -> Any:
    """Aravis. Skips the test, with a reason, where it is missing."""
    return _ready(_import_aravis, "Aravis")


def _ready(load: Callable[[], Any], name: str) -> Any:
    try:
        import gi  # noqa: F401
    except ImportError:
        _look_in_the_system()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # its importer has another form than Python 3.11 wants
        for each in (_import_gst, _import_aravis):  # all of them: a probe that comes later would be warned
            with suppress(ImportError, ValueError):
                each()
    try:
        return load()
    except (ImportError, ValueError) as error:
        pytest.skip(f"no {name} for this Python: {error}")


def _import_aravis() -> Any:
    import gi

    gi.require_version("Aravis", "0.8")
    from gi.repository import Aravis, GLib  # noqa: F401 for whoever wants GLib later

    return Aravis


def _import_gst() -> Any:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst  # noqa: F401 for whoever wants GLib later

    return Gst


def _gst() -> Any:
    gst = _import_gst()
    gst.init_check(None)
    missing = [name for name in ELEMENTS if gst.ElementFactory.find(name) is None]
    if missing:
        raise ImportError(f"no element {missing[0]}")
    return gst


def _look_in_the_system() -> None:
    try:
        told = subprocess.run([PYTHON, "-c", WHERE], capture_output=True, text=True, check=False).stdout.split(maxsplit=2)
    except FileNotFoundError:
        return
    if told[:2] == [str(each) for each in sys.version_info[:2]]:
        sys.meta_path.append(_OnlyGi(told[2].strip()))
