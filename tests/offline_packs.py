"""Packs as deploy/offline makes them, but small: this checkout's edgecell with one model bundle, and one wheel that lends it
the libraries of the environment that runs the tests. Versions that were never made are this one with a line changed.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest

from deploy.offline import pack as packing
from deploy.offline.install import digest
from deploy.offline.pins import Pin
from deploy.offline.target import Target
from edgecell import __version__
from edgecell.journal import store

BUNDLE = "bloodmnist28"
HERE = Target(machine=platform.machine(), python=f"{sys.version_info.major}.{sys.version_info.minor}", glibc=17)
NEWER_SCHEMA = {
    "edgecell/journal/store.py": (
        '    """,\n)\n"""Version n',
        '    """,\n    "CREATE TABLE later (x INTEGER)",\n)\n"""Version n',
    )
}
"""What makes of the journal's schema the next one."""
BROKEN = {"edgecell/bundle.py": ('SHIPPED = Path(__file__).parent / "bundles"', 'SHIPPED = Path(__file__).parent / "lost"')}
Changes = Mapping[str, tuple[str, str]]
LATER = store.VERSION + 1


class Shelf:
    """A folder of wheels, which is all the index that pip is given, and the packs made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._index = folder, folder / "index"
        self._index.mkdir(parents=True)
        (folder / "built").mkdir()
        self._wheel = packing.build_wheel(folder / "built")
        self._needed = [self._pin(_lent(self._index)), self._pin(_pip(self._index))]

    def pack(self, version: str, changes: Changes | None = None, target: Target = HERE) -> Path:
        """Of edgecell, called `version`, with what is changed in its files: path -> (text, text in its place)."""
        out = self.folder / f"pack-{version}"
        init = {"edgecell/__init__.py": (f'__version__ = "{__version__}"', f'__version__ = "{version}"')}
        wheel = _variant(self._wheel, version, {**init, **(changes or {})}, self.folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIP_NO_INDEX", "1")
            patch.setenv("PIP_FIND_LINKS", str(self._index))
            packing.pack(out, target, wheel, self._needed, [], [])
        return out

    @staticmethod
    def _pin(wheel: Path) -> Pin:
        name, version, *_ = wheel.name.split("-")
        return Pin(name=name, version=version, hashes=(digest(wheel),))


def without_network() -> list[str]:
    """What to put before a command so that it runs in a network namespace that has no route. Skips where there is none."""
    unshare = shutil.which("unshare")
    for options in (["--net"], ["--user", "--map-root-user", "--net"]):
        command = [unshare or "", *options]
        if unshare and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("no network namespace can be made here")


def _variant(wheel: Path, version: str, changes: Changes, folder: Path) -> Path:
    """The wheel as another version, with one bundle."""
    made = folder / f"edgecell-{version}-py3-none-any.whl"
    left = dict(changes)
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(made, "w") as after:
        for name in before.namelist():
            raw = before.read(name)
            if name in left:
                old, new = left.pop(name)
                assert raw.decode().count(old), f"{name} has no {old!r}"
                raw = raw.decode().replace(old, new, 1).encode()
            if name.endswith("METADATA"):
                raw = raw.replace(f"\nVersion: {__version__}\n".encode(), f"\nVersion: {version}\n".encode())
            if not name.startswith("edgecell/bundles/") or name.startswith(f"edgecell/bundles/{BUNDLE}/"):
                after.writestr(name.replace(f"edgecell-{__version__}.dist-info", f"edgecell-{version}.dist-info"), raw)
    assert not left, f"not in the wheel: {sorted(left)}"
    return made


def _lent(folder: Path) -> Path:
    """A wheel whose only file names the folders where this Python's libraries lie."""
    lines = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    return made_wheel(folder, "lent", "1.0", {"lent.pth": "\n".join(lines).encode()})


def _pip(folder: Path) -> Path:
    """The pip of this environment, as a wheel again."""
    pip = metadata.distribution("pip")
    files = {str(each): Path(str(pip.locate_file(each))) for each in pip.files or [] if each.parts[0] == "pip"}
    content = {name: path.read_bytes() for name, path in files.items() if path.suffix != ".pyc"}
    return made_wheel(folder, "pip", pip.version, content)


def made_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], needs: str = "") -> Path:
    """A pure wheel with these files. needs: lines of its metadata."""
    wheel, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    own = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n{needs}",
        f"{about}/WHEEL": tags,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, raw in {**files, **{path: text.encode() for path, text in own.items()}}.items():
            archive.writestr(path, raw)
        archive.writestr(f"{about}/RECORD", "".join(f"{path},,\n" for path in [*files, *own, f"{about}/RECORD"]))
    return wheel


def environment(**more: str) -> dict[str, str]:
    """Of a shell on a device: nothing of this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    return {**kept, **more}
