"""Finding TensorRT: whichever name it has, whichever version it is, and why not."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from conftest import StandInMachine, forget

from edgecell.engines.trt import library, versions
from edgecell.engines.trt.driver import Driver
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.vendor import TensorRt
from edgecell.errors import EngineError, MissingDependency

DRIVER = Driver(version="12.6", devices=(), platform="x86_64 driver 560.35.03")
NEWER = Driver(version="13.0", devices=(), platform="x86_64 driver 580.65.06")
GROUPS = (
    (versions.explicit_batch, versions.weakly_typed, versions.strongly_typed, versions.always_strongly_typed),
    (versions.allowed, versions.as_the_model_says),
    (versions.without_other_libraries, versions.as_it_is),
    (versions.unwatched, versions.watched),
    (versions.numbered, versions.named),
)


@pytest.mark.parametrize(
    ("text", "version", "strong"),
    [
        ("8.6.1", (8, 6, 1), False),
        ("10.3.0", (10, 3, 0), False),
        ("10.11.0.33", (10, 11, 0, 33), False),
        ("10.12.0.36", (10, 12, 0, 36), True),
        ("10.16.1.11", (10, 16, 1, 11), True),
        ("11.4.0.106+cuda13", (11, 4, 0, 106), True),
    ],
)
def test_the_version_says_how_it_types(
    stand_in_machine: StandInMachine, text: str, version: tuple[int, ...], strong: bool
) -> None:
    stand_in_machine.tensorrt(text)
    found = library.find(DRIVER)
    assert (found.version, found.text, found.strongly_typed) == (version, text, strong)
    assert vars(found.module)["__name__"] == "tensorrt"


def package(folder: Path, name: str, text: str | None) -> None:
    """A package `name` of this source in `folder`; without a source, a folder only."""
    (folder / name).mkdir()
    if text is not None:
        (folder / name / "__init__.py").write_text(text)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in front of Python's path, where a test puts what it wants found."""
    forget()
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def test_its_bindings_alone_will_do(path: Path) -> None:
    package(path, "tensorrt_bindings", "__version__ = '8.6.1'")
    found = library.find(DRIVER)
    assert (vars(found.module)["__name__"], found.version) == ("tensorrt_bindings", (8, 6, 1))


def test_where_it_is_not_installed_the_fix_fits_the_driver(path: Path) -> None:
    with pytest.raises(MissingDependency, match="TensorRT is not installed for this Python 3") as caught:
        library.find(DRIVER)
    assert "tensorrt-cu12" in caught.value.fix
    with pytest.raises(MissingDependency) as caught:
        library.find(NEWER)
    assert "tensorrt-cu13" in caught.value.fix


def test_on_a_jetson_it_comes_with_jetpack(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "on_jetson", lambda: True)
    with pytest.raises(MissingDependency) as caught:
        library.find(DRIVER)
    assert "python3-libnvinfer" in caught.value.fix
    assert "--system-site-packages" in caught.value.fix


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("raise ImportError('libnvinfer.so.10: cannot open shared object file')", "tensorrt does not load: libnvinfer.so.10"),
        ("import ctypes; ctypes.CDLL('libnvinfer_not_there.so')", "tensorrt does not load: libnvinfer_not_there.so"),
        ("from tensorrt.tensorrt import Builder", "tensorrt is there, but built for another Python"),
        ("import a_library_that_is_not_there", "tensorrt does not load: No module named 'a_library_that_is_not_there'"),
        ("", "is not NVIDIA's TensorRT: it has no version"),
        (None, "is not NVIDIA's TensorRT: it has no version"),
    ],
)
def test_a_package_that_does_not_work_is_a_missing_dependency(path: Path, source: str | None, what: str) -> None:
    package(path, "tensorrt", source)
    with pytest.raises(MissingDependency) as caught:
        library.find(DRIVER)
    assert what in caught.value.what
    assert "tensorrt-cu12" in caught.value.fix


@pytest.mark.parametrize("text", ["8.5.2", "7.2.3.4", "12.0.0"])
def test_a_version_that_is_not_known_is_refused(path: Path, text: str) -> None:
    package(path, "tensorrt", f"__version__ = {text!r}")
    with pytest.raises(EngineError, match=rf"TensorRT {text} is not one that edgecell knows \(8.6 to 11\)"):
        library.find(DRIVER)


def of_version(version: tuple[int, ...]) -> Library:
    """A library of which nothing is used but its version."""
    return Library(module=cast(TensorRt, None), version=version, text=".".join(map(str, version)))


@pytest.mark.parametrize(
    "version", [(8, 6), (8, 6, 1), (10, 0), (10, 2), (10, 3), (10, 11), (10, 12), (10, 16), (11, 0), (11, 99)]
)
def test_every_version_has_one_way_of_each_kind(version: tuple[int, ...]) -> None:
    found = of_version(version)
    for ways in GROUPS:
        way = found.pick(*ways)
        assert found.pick(*reversed(ways)) is way, "two ways serve one version"


def test_what_serves_no_version_is_not_chosen() -> None:
    with pytest.raises(EngineError, match=r"nothing here serves TensorRT 8\.6\.1"):
        of_version((8, 6, 1)).pick(versions.watched)
