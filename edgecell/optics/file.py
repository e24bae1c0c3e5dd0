"""The optics file: what was measured of one camera behind one objective, in one TOML file.

    camera = "acA1920-40uc, no. 22812345"
    objective = "100x/1.25 oil"
    size_px = [1920, 1200]              # of the frames that all this was measured on

    [scale]
    pixel_um = [0.0688, 0.0689]         # across, down
    how = "stage micrometer"
    ...
    [flat]
    dark = [2.0, 2.0, 3.0]
    red = [[190.1, 195.2, 190.0], [191.0, 199.8, 192.2]]
    ...

What was not measured is left out. `edgecell optics` writes the tables one by one; a person may.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgecell.errors import SettingsError
from edgecell.files import write_whole
from edgecell.optics.scale import PLAUSIBLE_UM
from edgecell.tomlfile import converted, read_toml, written

Level = Annotated[float, msgspec.Meta(ge=0, le=255)]
Rgb = tuple[Level, Level, Level]
"""Grey values, 0-255, of red, green and blue."""
PixelUm = Annotated[float, msgspec.Meta(ge=PLAUSIBLE_UM[0], le=PLAUSIBLE_UM[1])]
Side = Annotated[int, msgspec.Meta(ge=16, le=1 << 16)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Samples = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
BlurUm = Annotated[float, msgspec.Meta(gt=0, le=5)]
MEASURED = ("scale", "flat", "white", "exposure", "focus")
"""The tables of an optics file."""
SAME_SCALE = 0.02
"""Scales that are told twice and differ by more are not of one objective."""
GRID = (2, 32)
"""Fewest and most values to a side of a flat field's grid: a lamp changes slowly."""
LEAST_CLEAR = 5.0
"""Grey values above dark that clear background has: less can be no picture of it, and would be divided by."""
Clear = Annotated[float, msgspec.Meta(ge=LEAST_CLEAR, le=255)]
Row = Annotated[tuple[Level, ...], msgspec.Meta(min_length=GRID[0], max_length=GRID[1])]
Grid = Annotated[tuple[Row, ...], msgspec.Meta(min_length=GRID[0], max_length=GRID[1])]


class PixelSize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """pixel_um: micrometres per pixel, across and down. uncertainty: of each, relative (half of a 95 % interval). samples:
    lines or cells, in each direction. measured: when, ISO 8601 UTC by the clock of the machine; so in all these tables."""

    pixel_um: tuple[PixelUm, PixelUm]
    how: Literal["stage micrometer", "red cells", "told"]
    uncertainty: tuple[Share, Share] = (0.0, 0.0)
    samples: tuple[Samples, Samples] = (0, 0)
    measured: str = ""

    @property
    def square_um(self) -> float:
        """The finer of both: what a pixel of a frame has once its pixels are square."""
        return min(self.pixel_um)


class FlatField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Clear background as the camera shows it, in grey values: `red`, `green`, `blue` are grids of rows, whose values stand at
    evenly spaced points from the frame's one border to the other, between which it runs straight. dark: without light."""

    dark: Rgb = (0.0, 0.0, 0.0)
    red: Grid
    green: Grid
    blue: Grid
    frames: Count = 1
    measured: str = ""

    def __post_init__(self) -> None:
        grids = (self.red, self.green, self.blue)
        if len({(len(grid), *map(len, grid)) for grid in grids}) != 1 or len(set(map(len, self.red))) != 1:
            raise ValueError("red, green and blue need as many rows as each other, all of one length")
        for name, grid, dark in zip(("red", "green", "blue"), grids, self.dark, strict=True):
            if min(map(min, grid)) < dark + LEAST_CLEAR:
                raise ValueError(f"{name} has values less than {LEAST_CLEAR:g} above its dark level")


class WhiteBalance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """level: of clear background once the flat field, if there is one, is evened out. aim: grey value for all of them."""

    level: tuple[Clear, Clear, Clear]
    aim: Annotated[float, msgspec.Meta(ge=100, le=254)] = 235.0
    frames: Count = 1
    measured: str = ""


class Exposure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How bright the microscope was set up. level: of the brightest clear background, as the camera shows it. aim: between
    which grey values its brightest channel should lie. exposure_us: of the camera, where it tells."""

    level: tuple[Clear, Clear, Clear]
    aim: tuple[Level, Level]
    exposure_us: Annotated[float, msgspec.Meta(gt=0)] | None = None
    frames: Count = 1
    measured: str = ""

    def __post_init__(self) -> None:
        if self.aim[0] >= self.aim[1]:
            raise ValueError("aim needs the lower value first")


class Focus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blur of the steepest borders (`gate.blur_um`, micrometres). sharpest_um: in focus. softest_um: most that is counted."""

    sharpest_um: BlurUm
    softest_um: BlurUm
    frames: Count = 1
    measured: str = ""

    def __post_init__(self) -> None:
        if self.sharpest_um >= self.softest_um:
            raise ValueError("softest_um must be larger than sharpest_um")


class Optics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera behind one objective. None: not measured. size_px: (width, height) of the frames that this was measured
    on, as the camera gives them; for frames of another size nothing of it holds."""

    camera: str = ""
    objective: str = ""
    size_px: tuple[Side, Side]
    scale: PixelSize | None = None
    flat: FlatField | None = None
    white: WhiteBalance | None = None
    exposure: Exposure | None = None
    focus: Focus | None = None


def load(path: Path) -> Optics:
    """Raises SettingsError, naming the file, the field and the fix."""
    return converted(read_toml(path, "optics"), Optics, where=str(path))


def used(file: str, pixel_um: float | None) -> Optics | None:
    """The optics of a run; None where the settings name no file. pixel_um: as the segmenter's settings say, None where they do
    not. Raises SettingsError, also where both tell a scale and do not agree: one of them is of another objective."""
    if not file:
        return None
    optics = load(Path(file))
    scale = optics.scale
    if scale is not None and pixel_um is not None and abs(pixel_um / scale.square_um - 1) > SAME_SCALE:
        what = f"{file} has {scale.square_um:g} um a pixel, and [segmenter] pixel_um is {pixel_um:g}"
        raise SettingsError(what, fix="leave pixel_um out of [segmenter], or measure the optics anew")
    return optics


def save(optics: Optics, path: Path) -> None:
    """Write the file, whole or not at all. Raises SettingsError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, as_toml(optics).encode())
    except OSError as error:
        fix = "give a folder that can be written"
        raise SettingsError(f"optics file {path} cannot be written: {error.strerror}", fix=fix) from None


def as_toml(optics: Optics) -> str:
    """The file's text; what was not measured is left out."""
    told: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(optics).items() if value is not None}
    plain = [f"{name} = {_value(value)}" for name, value in told.items() if not isinstance(value, dict)]
    tables = [f"\n[{name}]\n{_lines(value)}" for name, value in told.items() if isinstance(value, dict)]
    return (
        "\n".join(["# Written by `edgecell optics`. Grey values are 0 to 255, as the camera gives them.", *plain, *tables])
        + "\n"
    )


def _lines(table: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {_value(value)}" for name, value in table.items() if value is not None)


def _value(value: Any) -> str:
    """As TOML, the rows of a grid one below the other."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        rows = ",\n".join(f"    {_value(row)}" for row in value)
        return f"[\n{rows},\n]"
    return written(value)
