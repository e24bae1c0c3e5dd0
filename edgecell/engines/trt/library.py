"""TensorRT's Python package, found once a driver was, and how code that not every version understands is marked.

Versions 8.6 to 11 differ in names. What every one of them has is used freely. A function that touches a name which one of them
lacks is marked `@serves(since, until)`, and `Library.pick` chooses among such functions, so no version ever meets a name that
it lacks. `since` is the first version, `until` the first one that is no longer served (None: all up to the newest), both
written as literal (major, minor), so that a test can read from the source which names are used for which versions and look
them up in the vendor's own packages. In that code the package is called `trt`, and its objects are annotated with their class.

Importing the package calls nothing in it; but without a driver `Builder` fails and `Runtime` crashes the process.
"""

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from edgecell.engines.trt.driver import Driver, on_jetson
from edgecell.engines.trt.vendor import TensorRt
from edgecell.errors import EngineError, MissingDependency

PACKAGES = ("tensorrt", "tensorrt_bindings")
OLDEST = (8, 6)
NEWEST_MAJOR = 11
STRONG_TYPING = (10, 12)
"""From here on precision is in the model, not in the builder's flags: weak typing is deprecated in 10.12 and gone in 11."""

_Way = TypeVar("_Way", bound=Callable[..., Any])
_SERVED: dict[object, tuple[tuple[int, int], tuple[int, int] | None]] = {}


def serves(since: tuple[int, int], until: tuple[int, int] | None = None) -> Callable[[_Way], _Way]:
    """Marks what is for the versions from `since` up to, not including, `until`. Both are literals: a test reads them."""

    def mark(way: _Way) -> _Way:
        _SERVED[way] = (since, until)
        return way

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """module: the package, by whichever of its names it has. version: as in (10, 3, 0); text: as it is written, "10.3.0"."""

    module: TensorRt
    version: tuple[int, ...]
    text: str

    @property
    def strongly_typed(self) -> bool:
        """Whether a network's types are those of its ONNX file. Else builder flags allow lower precision."""
        return self.version >= STRONG_TYPING

    def pick(self, *ways: _Way) -> _Way:
        """The one of these functions, all marked by `serves`, that is for this version."""
        for way in ways:
            since, until = _SERVED[way]
            if self.version >= since and (until is None or self.version < until):
                return way
        raise EngineError(f"nothing here serves TensorRT {self.text}", fix=_upgrade())


def find(driver: Driver) -> Library:
    """Import TensorRT. That there is a `driver` must have been seen before: see `edgecell.engines.trt.driver.look`.

    Raises MissingDependency when it is not there or does not load, EngineError when its version is not known here.
    """
    module = _imported(driver)
    text = str(getattr(module, "__version__", ""))
    version = tuple(int(each) for each in re.findall(r"\d+", text.split("+")[0])[:4])
    if len(version) < 2:
        what = f"{module.__name__} at {getattr(module, '__path__', '?')} is not NVIDIA's TensorRT: it has no version"
        raise MissingDependency(what, fix=f"remove or rename it; then {_install(driver)}")
    if not OLDEST <= version < (NEWEST_MAJOR + 1,):
        raise EngineError(f"TensorRT {text} is not one that edgecell knows ({_known()})", fix=_upgrade())
    return Library(module=module, version=version, text=text)


def _imported(driver: Driver) -> ModuleType:
    found = next((module for module in (_load(name, driver) for name in PACKAGES) if module is not None), None)
    if found is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise MissingDependency(f"TensorRT is not installed for this Python {python} ({sys.executable})", fix=_install(driver))
    return found


def _load(name: str, driver: Driver) -> ModuleType | None:
    """The package `name`, or None where there is none. Raises MissingDependency when it is there but does not load."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise _broken(name, error, driver) from error
    except (ImportError, OSError) as error:
        raise _broken(name, error, driver) from error


def _broken(name: str, error: Exception, driver: Driver) -> MissingDependency:
    """The package is there, but not what it stands on: its own native part (another Python's), or NVIDIA's libraries."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(f"{name}."):
        return MissingDependency(f"{name} is there, but built for another Python: {error}", fix=_install(driver))
    return MissingDependency(f"{name} does not load: {' '.join(str(error).split())}", fix=_install(driver))


def _install(driver: Driver) -> str:
    if on_jetson():
        return (
            "`sudo apt install tensorrt python3-libnvinfer` (it comes with JetPack), "
            "and a venv made with `--system-site-packages` by the system's own python3"
        )
    cuda = "cu13" if int(driver.version.partition(".")[0]) >= 13 else "cu12"
    return f"`pip install tensorrt-{cuda}`, which fetches the libraries from NVIDIA's own host; or run with `--engine onnxrt`"


def _upgrade() -> str:
    return f"install one of TensorRT {_known()}; on a Jetson that is JetPack 6 or later"


def _known() -> str:
    return f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}"
