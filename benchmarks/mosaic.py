"""Frames of 1920x1200 for benchmarks, laid from the labelled fields of TXL-PBC at their native scale.

    python -m benchmarks.mosaic --data txl_pbc.tar --out /tmp/mosaics

One mosaic holds fields of one image size, which in TXL-PBC means one microscope, so that it has one scale; measure one folder
at a time, as a run is of one sample. Fields are laid from the top left, and what sticks out at the right and the bottom is cut
off; so most of the nucleated cells, which lie in the middle of their fields, are far enough inside to be classified. Where two
fields meet, cells end at the seam as they do at a frame's border: good for timing, not for accuracy. Which fields go where is
in mosaics.toml; the pictures never enter the project.

The fields of 416x416 are left out: they were squashed, so their pixels are not square.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.fields import KINDS, Field, read_fields
from edgecell.errors import EdgecellError, SettingsError
from edgecell.messages import NUCLEATED

LIST = Path(__file__).parent / "mosaics.toml"
PROJECT = Path(__file__).parents[1]
SPLIT = "val"
SIZE_PX = (1920, 1200)
SOURCES = ("575x575", "640x480", "360x363")


class Mosaic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """name: folder (one a microscope) and file, without suffix. tile_px: width and height of a field.

    fields: row by row, from the top left.
    """

    name: str
    tile_px: tuple[int, int]
    fields: tuple[str, ...]


class Mosaics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """size_px: width and height of each."""

    size_px: tuple[int, int]
    mosaic: tuple[Mosaic, ...]


def grid(tile_px: tuple[int, int], size_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Top left corners (x, y) of the tiles that cover a frame, row by row."""
    return [(x, y) for y in range(0, size_px[1], tile_px[1]) for x in range(0, size_px[0], tile_px[0])]


def arrange(fields: Sequence[Field], sources: Sequence[str] = SOURCES, size_px: tuple[int, int] = SIZE_PX) -> Mosaics:
    """As many whole mosaics as the fields of each source give, in the order of their names."""
    mosaics = []
    for source in sources:
        names = sorted(field.name for field in fields if field.source == source)
        width, height = (int(side) for side in source.split("x"))
        each = len(grid((width, height), size_px))
        groups = [tuple(names[at : at + each]) for at in range(0, len(names) - each + 1, each)]
        mosaics += [
            Mosaic(name=f"{source}/{number}", tile_px=(width, height), fields=group) for number, group in enumerate(groups)
        ]
    return Mosaics(size_px=size_px, mosaic=tuple(mosaics))


def lay(mosaic: Mosaic, fields: Mapping[str, Field], size_px: tuple[int, int]) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """The picture, uint8 (H, W, 3) RGB, and the labelled cells of each kind whose centre lies in it. Raises SettingsError."""
    canvas = np.zeros((size_px[1], size_px[0], 3), np.uint8)
    counts = dict.fromkeys(KINDS, 0)
    for name, (left, top) in zip(mosaic.fields, grid(mosaic.tile_px, size_px), strict=True):
        field = fields.get(name)
        if field is None or (field.image.shape[1], field.image.shape[0]) != mosaic.tile_px:
            what = f"mosaic {mosaic.name} wants field {name} of {mosaic.tile_px[0]}x{mosaic.tile_px[1]}"
            raise SettingsError(f"{what}, and the data has none", fix="give the whole of TXL-PBC, or make the list again")
        seen = field.image[: size_px[1] - top, : size_px[0] - left]
        canvas[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
        centres = (field.boxes[:, :2] + field.boxes[:, 2:]) / 2 + (left, top)
        inside = (centres < size_px).all(axis=1)
        for number, kind in enumerate(KINDS):
            counts[kind] += int((field.kinds[inside] == number).sum())
    return canvas, counts


def as_toml(mosaics: Mosaics) -> str:
    """The list as it is committed."""
    lines = [f"size_px = {list(mosaics.size_px)}"]
    for mosaic in mosaics.mosaic:
        lines += ["", "[[mosaic]]", f'name = "{mosaic.name}"', f"tile_px = {list(mosaic.tile_px)}", "fields = ["]
        lines += [f'    "{name}",' for name in mosaic.fields] + ["]"]
    return "\n".join(lines) + "\n"


def build(mosaics: Mosaics, fields: Mapping[str, Field], out: Path) -> Iterator[str]:
    """Write every mosaic as <name>.png into `out`; a line about each. Raises SettingsError for a folder in the project."""
    if out.resolve().is_relative_to(PROJECT):
        raise SettingsError(
            f"{out} is in the project, which holds no pictures", fix="give a folder elsewhere, e.g. /tmp/mosaics"
        )
    nucleated = []
    for mosaic in mosaics.mosaic:
        picture, counts = lay(mosaic, fields, mosaics.size_px)
        file = out / f"{mosaic.name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        nucleated.append(counts[NUCLEATED])
        yield f"{mosaic.name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())
    yield f"{len(nucleated)} mosaics, nucleated a frame: {min(nucleated)} to {max(nucleated)}, mean {np.mean(nucleated):.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 with a line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mosaic", description="Build the frames that are measured on.")
    parser.add_argument("--data", type=Path, required=True, help="TXL-PBC's folder or tar")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder outside the project for the pictures")
    what.add_argument("--arrange", action="store_true", help="print a new mosaics.toml instead")
    options = parser.parse_args(arguments)
    try:
        fields = list(read_fields(options.data, SPLIT))
        if options.arrange:
            sys.stdout.write(as_toml(arrange(fields)))
            return 0
        mosaics = msgspec.toml.decode(LIST.read_bytes(), type=Mosaics)
        for line in build(mosaics, {field.name: field for field in fields}, options.out):
            print(line)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
