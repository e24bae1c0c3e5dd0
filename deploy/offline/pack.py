"""Makes a pack: one folder from which a named kind of device installs edgecell without a network.

    python -m deploy.offline.pack --machine aarch64 --python 3.11 --out edgecell-jetson

    install.py          needs Python alone            wheels/      edgecell, what it needs, and the pip that installs them
    requirements.txt    each wheel with its hash      bundles/     models besides those in edgecell's wheel
    pack.json           what the pack is for          deploy/      the service's unit, settings to begin with, pages
    sbom.cdx.json       its bill of materials         SHA256SUMS   of every file; `sha256sum -c` reads it too

It runs on a workstation with a network, from a checkout: the pins with their hashes are not in the wheel.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.offline import pins, sbom
from deploy.offline.install import ABOUT, INSTALLER, REQUIREMENTS, SUMS, digest
from deploy.offline.pins import Pin
from deploy.offline.sbom import Wheel
from deploy.offline.target import MACHINES, PYTHONS, Target
from edgecell.bundle import Bundle, open_bundle
from edgecell.errors import EdgecellError, SettingsError

ROOT = Path(__file__).parents[2]
BILL = "sbom.cdx.json"
PLAIN = ("--quiet", "--no-input", "--no-color", "--disable-pip-version-check")
"""Says what went wrong, and no more."""
PAGES = ("*.md", "*.service", "*.sysusers", "*.rules", "boards", "settings")
"""Of deploy/, what a device has a use for."""


def build_wheel(out: Path) -> Path:
    """edgecell's wheel, from this checkout, into the folder `out`. Raises EdgecellError."""
    _called([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)], "build the wheel")
    (wheel,) = out.glob("edgecell-*.whl")
    return wheel


def pack(out: Path, target: Target, wheel: Path, needed: Sequence[Pin], extras: Sequence[str], bundles: Sequence[Path]) -> str:
    """Make the folder `out`, which is there once all of it is; the sha256 of its list of checksums.

    needed: all that the wheel needs with its extras, and pip. bundles: folders, each named after its bundle in the pack.
    Raises EdgecellError; then there is no `out`.
    """
    if out.exists():
        raise SettingsError(f"{out} is there already", fix="give another --out, or remove it")
    own = _opened(bundles)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as name:
        folder = Path(name) / out.name
        for each in ("wheels", "bundles"):
            (folder / each).mkdir(parents=True)
        shutil.copy(wheel, folder / "wheels")
        _download(needed, target, folder / "wheels")
        wheels = [Wheel.read(path) for path in sorted((folder / "wheels").glob("*.whl"))]
        with _shipped(wheel) as shipped:
            text = sbom.bill(wheels, {**shipped, **own}, target.markers, extras)
        for where, bundle in own.items():
            shutil.copytree(bundle.path, folder / where)
        (folder / BILL).write_text(text, encoding="utf-8")
        _write_about(folder, target, wheels, extras)
        _copy_pages(folder)
        sums = "".join(f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder))
        (folder / SUMS).write_text(sums, encoding="utf-8")
        folder.rename(out)
    return digest(out / SUMS)


def _opened(bundles: Sequence[Path]) -> dict[str, Bundle]:
    """By their path in the pack, before anything is downloaded. Raises BundleError, SettingsError for two of one name."""
    opened: dict[str, Bundle] = {}
    for bundle in map(open_bundle, bundles):
        name = bundle.manifest.name
        if opened.setdefault(f"bundles/{name}", bundle) is not bundle:
            raise SettingsError(f"two bundles are called {name}", fix="give one of them, or another name to one")
    return opened


def _download(needed: Sequence[Pin], target: Target, folder: Path) -> None:
    """Every wheel as it was pinned, and none that was not. pip would judge markers for its own Python: they are judged here."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{pin.line()}\n" for pin in needed))
        file.flush()
        command = [sys.executable, "-m", "pip", "download", *PLAIN, "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        what = f"fetch the wheels for {target} (a newer --glibc may have more)"
        _called([*command, *target.pip_options, "-r", file.name, "-d", str(folder)], what)


def _write_about(folder: Path, target: Target, wheels: Sequence[Wheel], extras: Sequence[str]) -> None:
    """requirements.txt and pack.json: what install.py goes by."""
    named = {wheel.name: wheel for wheel in wheels}
    pip, edgecell = named.pop("pip"), named["edgecell"]
    lines = [Pin(name=each.name, version=each.version, hashes=(digest(each.path),)).line() for each in named.values()]
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    about = {
        "version": edgecell.version,
        "machine": target.machine,
        "python": target.python,
        "glibc": target.glibc,
        "extras": list(extras),
        "pip": f"wheels/{pip.path.name}",
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _copy_pages(folder: Path) -> None:
    shutil.copyfile(Path(__file__).with_name(INSTALLER), folder / INSTALLER)
    for path in (path for pattern in PAGES for path in sorted((ROOT / "deploy").glob(pattern))):
        if path.is_dir():
            shutil.copytree(path, folder / "deploy" / path.name)
        else:
            (folder / "deploy").mkdir(exist_ok=True)
            shutil.copy(path, folder / "deploy")


@contextmanager
def _shipped(wheel: Path) -> Iterator[Mapping[str, Bundle]]:
    """The bundles inside the wheel, opened, by their path in the pack."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(wheel) as archive:
        archive.extractall(name, [each for each in archive.namelist() if each.startswith("edgecell/bundles/")])
        folders = sorted(Path(name).glob("edgecell/bundles/*"))
        yield {f"wheels/{wheel.name}!/edgecell/bundles/{each.name}": open_bundle(each) for each in folders}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _called(command: Sequence[str], what: str) -> None:
    """What the program says goes to stderr. Raises EdgecellError where it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise EdgecellError(
            f"cannot {what}", fix="see above for why; pip takes its index, proxy and certificates from its own settings"
        )


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", choices=MACHINES, required=True, help="what `uname -m` says on the device")
    parser.add_argument("--python", choices=PYTHONS, required=True, help="what `python3 -V` says there")
    parser.add_argument(
        "--glibc", default="2.31", help="its C library, or an older one: `ldd --version` (default: %(default)s)"
    )
    extras = sorted(path.stem for path in (ROOT / "requirements/extras").glob("*.txt"))
    parser.add_argument("--extra", action="append", default=[], choices=extras, help="may be given several times")
    parser.add_argument("--bundle", action="append", default=[], type=Path, help="folder of a model bundle; several times")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Exit code."""
    given = arguments(words)
    try:
        target = Target(machine=given.machine, python=given.python, glibc=_minor(given.glibc))
        needed = pins.needed(ROOT / "requirements", target, given.extra)
        needed.append(pins.read(ROOT / "requirements/pack.txt", target)["pip"])
        with tempfile.TemporaryDirectory() as name:
            sha256 = pack(given.out.absolute(), target, build_wheel(Path(name)), needed, given.extra, given.bundle)
    except EdgecellError as error:
        print(f"pack: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"pack: error: {error}. Fix: free space, or give another --out", file=sys.stderr)
        return SettingsError.exit_code
    size = sum(path.stat().st_size for path in _files(given.out))
    print(f"{given.out}: for {target}; {len(_files(given.out))} files, {size / 1e6:.0f} MB; sha256 of {SUMS}: {sha256}")
    return 0


def _minor(text: str) -> int:
    """Of "2.31", 31. Raises SettingsError."""
    major, _, minor = text.partition(".")
    if major != "2" or not minor.isdecimal():
        raise SettingsError(f"--glibc {text!r} is no version of glibc", fix="such as 2.31: ldd --version")
    return int(minor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
