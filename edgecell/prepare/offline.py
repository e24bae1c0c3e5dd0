"""A zip for devices without internet: bundles, and what TensorRT measured on such a device, so that it builds there sooner."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgecell.bundle import MANIFEST, Bundle
from edgecell.errors import SettingsError
from edgecell.files import write_whole
from edgecell.messages import NOTICE
from edgecell.signature import SIGNATURE

BUNDLES, TIMING = "bundles", "timing"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_README = """\
Bundles for `edgecell prepare`, packed by `edgecell prepare --offline-export`.

On the device, which needs edgecell and TensorRT but no internet:

    unzip FILE.zip -d unpacked     (or: python3 -m zipfile -e FILE.zip unpacked)
    edgecell prepare ./unpacked

This builds the TensorRT plans there and verifies them; it cannot be done elsewhere, since a plan is tied to its device. In
`timing` lies what TensorRT measured on a device that was prepared before: one of the same kind builds sooner with it.
The bundles, to be named in settings or with --bundle unless they came with edgecell:

{bundles}

{notice}
"""


def export(bundles: Sequence[Bundle], cache: Path, file: Path) -> tuple[str, ...]:
    """Write the zip, the same bytes for the same content, and say what is in it. cache: where timing caches lie.

    Raises SettingsError: two bundles of one name, or a file that cannot be written.
    """
    names = [bundle.manifest.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise SettingsError(f"two bundles have one name: {', '.join(sorted(names))}", fix="export them one at a time")
    content = {"README.txt": _README.format(bundles="\n".join(map(_line, bundles)), notice=NOTICE).encode()}
    for bundle in bundles:
        for name in (MANIFEST, SIGNATURE, *bundle.manifest.files):
            if (bundle.path / name).is_file():
                content[f"{BUNDLES}/{bundle.manifest.name}/{name}"] = (bundle.path / name).read_bytes()
    content |= {f"{TIMING}/{path.name}": path.read_bytes() for path in cache.glob("timing-*.cache")}
    try:
        write_whole(file, _packed(content))
    except OSError as error:
        raise SettingsError(f"--offline-export {file}: {error.strerror}", fix="give a file that can be written") from None
    return tuple(sorted(content))


def unpacked(folder: Path) -> list[Path]:
    """The bundles' folders in a folder that such a zip was unpacked into; none in any other."""
    return sorted(path.parent for path in folder.glob(f"{BUNDLES}/*/{MANIFEST}"))


def take_timing(folder: Path, cache: Path) -> None:
    """Put the timing caches of an unpacked zip where builds look for them, unless something is there. Raises SettingsError."""
    for path in sorted(folder.glob(f"{TIMING}/timing-*.cache")):
        if not (cache / path.name).exists():
            try:
                cache.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(cache / path.name, path.read_bytes())
            except OSError as error:
                fix = "name a folder that can be written in [engine] cache"
                raise SettingsError(f"cannot write {cache / path.name}: {error.strerror}", fix=fix) from None


def _line(bundle: Bundle) -> str:
    return f"    {BUNDLES}/{bundle.manifest.name}    version {bundle.manifest.version}, manifest sha256 {bundle.sha256}"


def _packed(content: dict[str, bytes]) -> bytes:
    """Not compressed: weights hardly shrink, and compressors differ from version to version."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content[name])
    return out.getvalue()
