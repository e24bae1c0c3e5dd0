"""`edgecell optics`: what camera and objective do to a picture, measured once and used by every run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell import app, clock
from edgecell.cli.optics_focus import blur_of, focus_range
from edgecell.cli.pictures import Pictures, pictures
from edgecell.errors import NotMeasurable, SettingsError
from edgecell.messages import NOTICE, Frame
from edgecell.optics import clear, lines, redcells
from edgecell.optics import file as optics_file
from edgecell.optics.correct import Correction, evening
from edgecell.optics.file import Exposure, FlatField, Focus, Grid, Optics, PixelSize, Rgb, WhiteBalance
from edgecell.preprocess import resized
from edgecell.settings import Settings

Table = PixelSize | FlatField | WhiteBalance | Exposure | Focus
Measure = Callable[[Pictures, Optics | None], Table]
"""From pictures and what the file held before."""
FIELDS, TURN = 24, 60
"""Frames that a camera gives, of fields and for a turn through focus."""
NO_CELLS = "Move to a place without cells, or, while the pictures are taken, over many fields."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The values of `shared`, but for frames."""

    paths: tuple[Path, ...]
    file: Path
    source: str | None
    camera: str | None
    objective: str | None
    as_json: bool


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """The options of every measurement."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The measured table as one JSON object on stdout."),
        click.option("--objective", help="Name of the objective, kept in the file."),
        click.option("--camera", help="Name of the camera, kept in the file."),
        click.option("--frames", type=click.IntRange(min=1), help=f"Of --source. Default: {FIELDS}; for focus {TURN}."),
        click.option("--source", metavar="SPEC", help="Take the pictures with a camera, e.g. v4l2:0 or basler."),
        click.option(
            "--file",
            "-f",
            default="optics.toml",
            show_default=True,
            type=click.Path(path_type=Path, dir_okay=False),
            help="The optics file: made, or this measurement renewed in it.",
        ),
        click.argument("paths", metavar="[IMAGE...]", nargs=-1, type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Measure camera and objective, and keep it in one TOML file that a run corrects its frames by.

    In this order: exposure, flat, white, scale, focus. Each takes pictures, or a camera with --source, which asks for what it
    needs on the terminal; each refuses what cannot be a measurement and says why. Then name the file in the settings,
    [optics] file = "optics.toml", or give it to count --optics.

    \b
    Examples:
      edgecell optics exposure --source v4l2:0
      edgecell optics flat empty/*.png --dark lamp-off.png
      edgecell optics white empty/*.png
      edgecell optics scale --lines 10 upright.png level.png
      edgecell optics show optics.toml --json
    """


@command.command("scale")
@click.option("--lines", "pitch_um", metavar="UM", type=click.FloatRange(0.5, 2000), help="Lines of a micrometer, UM apart.")
@click.option("--red-cells", is_flag=True, help="Fields of normal red cells: 7.2 um on average, and so less sure.")
@shared
def scale(pitch_um: float | None, red_cells: bool, frames: int | None, **asked: Any) -> None:
    """Micrometres a pixel, across and down: from a stage micrometer's lines, or from red cells.

    With --lines give two pictures, or more: its lines upright in one, level in the other. Pixels that are no squares are made
    squares by every run, as fine as their finer side; boxes are in those then.

    \b
    Examples:
      edgecell optics scale --lines 10 upright.png level.png
      edgecell optics scale --red-cells fields/ -f optics.toml
    """
    if (pitch_um is not None) == red_cells:
        raise click.UsageError("say what the pictures show: --lines UM or --red-cells")
    if pitch_um is not None and frames is not None:
        raise click.UsageError("--frames goes with --red-cells: of lines one picture in each direction is taken")
    if pitch_um is None:
        _measured("scale", _by_red_cells(frames), Asked(**asked))
    else:
        _measured("scale", _by_lines(pitch_um), Asked(**asked))


def _by_lines(pitch_um: float) -> Measure:
    def measure(shown: Pictures, _: Optics | None) -> PixelSize:
        words = [f"Show the micrometer, its lines {way}, in focus." for way in ("upright", "level")]
        seen = [frame for word in words[: 1 + shown.from_camera] for frame in shown.take(1, word)]
        return lines.pixel_size([lines.ruling(frame.image, _name(frame)) for frame in seen], pitch_um, clock.utc_now())

    return measure


def _by_red_cells(frames: int | None) -> Measure:
    def measure(shown: Pictures, _: Optics | None) -> PixelSize:
        seen = list(shown.take(frames or FIELDS, "Move over fields with red cells that lie apart, in focus."))
        return redcells.settled(partial(_red_cells, seen), clock.utc_now())

    return measure


def _red_cells(seen: Sequence[Frame], longer: float) -> tuple[NDArray[np.float64], float | None]:
    """What `redcells.settled` looks at. A segmenter for each look: it pools the scale of what it has seen."""
    found, pixel_um = [np.zeros((0, 2))], None
    with app.plan(Settings(models={})).recogniser() as recogniser:
        for frame in seen:
            size = redcells.drawn_out((frame.image.shape[1], frame.image.shape[0]), longer)
            cells = recogniser.segmenter.segment(replace(frame, image=resized(frame.halves, size)))
            pixel_um = cells.pixel_um or pixel_um
            found.append(redcells.diameters(cells.cells, size))
    return np.concatenate(found), pixel_um


def _scale_words(found: PixelSize) -> str:
    (across, down), (one, other), (some, more) = found.pixel_um, found.uncertainty, found.samples
    sides = f"{across:.5g} um a pixel across (+-{100 * one:.2g} %), {down:.5g} down (+-{100 * other:.2g} %)"
    of = {"stage micrometer": "lines", "red cells": "cells"}.get(found.how)
    return f"{sides}, from {some} and {more} {of}" if of else f"{across:.5g} um a pixel across, {down:.5g} down, as told"


@command.command("flat")
@click.option("--dark", metavar="IMAGE", help="A picture without light; `camera`: taken by --source when you have closed it.")
@shared
def flat(dark: str | None, frames: int | None, **asked: Any) -> None:
    """How evenly the field is lit: pictures without cells, or 20 fields and more, whose cells are left out.

    \b
    Examples:
      edgecell optics flat empty/*.png --dark lamp-off.png
      edgecell optics flat --source basler --dark camera
    """

    def measure(shown: Pictures, _: Optics | None) -> FlatField:
        seen = [clear.small(frame.image, _name(frame)) for frame in shown.take(frames or FIELDS, NO_CELLS)]
        red, green, blue = (_grid(grid) for grid in clear.surface(seen))
        level = _dark(shown, dark)
        now = clock.utc_now()
        try:
            return FlatField(dark=level, red=red, green=green, blue=blue, frames=len(seen), measured=now)
        except ValueError as error:
            raise NotMeasurable(f"the background's {error}", fix="switch the lamp on, or make the exposure longer") from None

    _measured("flat", measure, Asked(**asked))


def _dark(shown: Pictures, dark: str | None) -> Rgb:
    """Mean grey values without light. Raises NotMeasurable where there was some."""
    if dark is None:
        return (0.0, 0.0, 0.0)
    if dark == "camera" and not shown.from_camera:
        raise click.UsageError("--dark camera needs --source; give a picture instead")
    closed = shown if dark == "camera" else Pictures((Path(dark),), None)
    level = clear.dark_level([frame.image for frame in closed.take(8, "Close the light path, or switch the lamp off.")])
    if closed.size != shown.size:
        raise NotMeasurable(f"{dark} has another size than the other pictures", fix="give pictures of one camera in one mode")
    return _rgb(level)


def _grid(values: clear.Field) -> Grid:
    return tuple(tuple(round(min(255.0, float(value)), 2) for value in row) for row in values)


def _flat_words(found: FlatField) -> str:
    falls = [100 * (1 - min(map(min, grid)) / max(map(max, grid))) for grid in (found.red, found.green, found.blue)]
    told = ", ".join(f"{name} {fall:.0f} %" for name, fall in zip(("red", "green", "blue"), falls, strict=True))
    return f"from its brightest to its darkest place the background falls by {told}, over {found.frames} pictures"


@command.command("white")
@click.option("--aim", default=235.0, show_default=True, type=click.FloatRange(100, 254), help="Grey value that it gets.")
@shared
def white(aim: float, frames: int | None, **asked: Any) -> None:
    """The colour of clear background: every channel of it is brought to one grey value. Measure the flat field first.

    \b
    Examples:
      edgecell optics white empty/*.png
      edgecell optics white --source v4l2:0 --aim 240
    """

    def measure(shown: Pictures, before: Optics | None) -> WhiteBalance:
        seen = [clear.small(frame.image, _name(frame)) for frame in shown.take(frames or FIELDS, NO_CELLS)]
        if before is not None and before.flat is not None and seen:
            factor = evening(before.flat, (seen[0].shape[1], seen[0].shape[0]))
            seen = [(picture - np.array(before.flat.dark)) * factor for picture in seen]
        return WhiteBalance(level=_rgb(clear.levels(seen)), aim=aim, frames=len(seen), measured=clock.utc_now())

    _measured("white", measure, Asked(**asked))


@command.command("exposure")
@click.option(
    "--aim", default=(200.0, 240.0), show_default=True, nargs=2, type=click.FloatRange(20, 250), help="Lowest, highest."
)
@shared
def exposure(aim: tuple[float, float], frames: int | None, **asked: Any) -> None:
    """Whether lamp and exposure are right: the brightest channel of clear background must lie between both grey values.

    Where it does not, nothing is kept, and it says by how much to change the exposure. Do this before all else.

    \b
    Examples:
      edgecell optics exposure --source v4l2:0,exposure_us=2000
      edgecell optics exposure fields/ --aim 190 235
    """
    if aim[0] >= aim[1]:
        raise click.UsageError("--aim needs the lower value first")

    def measure(shown: Pictures, _: Optics | None) -> Exposure:
        taken = list(shown.take(frames or FIELDS, NO_CELLS))
        level = _rgb(clear.levels([clear.small(frame.image, _name(frame)) for frame in taken]))
        if not aim[0] <= max(level) <= aim[1]:
            factor = sum(aim) / 2 / max(level)
            us = next((frame.exposure_us for frame in taken if frame.exposure_us), None)
            what = f"clear background is {_told(level)}, its brightest channel not between {aim[0]:g} and {aim[1]:g}"
            to = f" (exposure_us = {us * factor:.0f})" if us else ""
            raise NotMeasurable(what, fix=f"make the exposure, or the lamp, {factor:.2f} times what it is{to}")
        us = next((frame.exposure_us for frame in taken if frame.exposure_us), None)
        return Exposure(level=level, aim=aim, exposure_us=us, frames=len(taken), measured=clock.utc_now())

    _measured("exposure", measure, Asked(**asked))


@command.command("focus")
@shared
def focus(frames: int | None, **asked: Any) -> None:
    """The range of the focus measure: pictures of cells while the fine focus is turned through, from soft to sharp to soft.

    The sharp ones say how soft a frame may be and still count, from the first frame of a run on. Measure the scale first.

    \b
    Examples:
      edgecell optics focus stack/*.png
      edgecell optics focus --source basler --frames 80
    """

    def measure(shown: Pictures, before: Optics | None) -> Focus:
        if before is None or before.scale is None:
            raise SettingsError("focus is measured in micrometres, and the file has no [scale]", fix="edgecell optics scale")
        um = before.scale.square_um
        correct = Correction(msgspec.structs.replace(before, flat=None, white=None), "the optics file")
        word = "Show cells, and turn the fine focus slowly through while the pictures are taken."
        seen = [blur_of(correct(frame), um) for frame in shown.take(frames or TURN, word)]
        return focus_range(np.array([blur for blur in seen if np.isfinite(blur)]))

    _measured("focus", measure, Asked(**asked))


@command.command("show")
@click.argument("path", metavar="[FILE]", default="optics.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def show(path: Path, as_json: bool) -> None:
    """What an optics file holds, and what is still to be measured.

    \b
    Examples:
      edgecell optics show
      edgecell optics show bench-3.toml --json
    """
    optics = optics_file.load(path)
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(optics), "notice": NOTICE}))
        return
    wide, high = optics.size_px
    named = f"{optics.camera or 'camera not named'}, {optics.objective or 'objective not named'}"
    click.echo(f"{path}: {named}, frames of {wide}x{high}")
    for name, words in WORDS.items():
        table = getattr(optics, name)
        told = f"not measured: edgecell optics {name} -f {path}" if table is None else f"{words(table)} ({table.measured})"
        click.echo(f"{name}: {told}")


def _measured(name: str, measure: Measure, asked: Asked) -> None:
    """Take pictures, measure, keep the table in the file, and tell. Raises SettingsError, SourceError."""
    before = optics_file.load(asked.file) if asked.file.exists() else None
    with pictures(asked.paths, asked.source) as shown:
        table = measure(shown, before)
    if shown.size is None:
        raise NotMeasurable("no picture came", fix="give images, or a source that has some")
    if before is not None and before.size_px != shown.size:
        had, has = (f"{wide}x{high}" for wide, high in (before.size_px, shown.size))
        what = f"{asked.file} is of frames of {had}, and these pictures have {has}"
        raise SettingsError(what, fix="measure every camera and every mode of it into a file of its own: -f other.toml")
    known = before or Optics(size_px=shown.size)
    names = {key: value for key, value in (("camera", asked.camera), ("objective", asked.objective)) if value is not None}
    optics_file.save(msgspec.structs.replace(known, **names, **{name: table}), asked.file)
    if asked.as_json:
        click.echo(
            msgspec.json.encode({"file": str(asked.file), "table": name, **msgspec.to_builtins(table), "notice": NOTICE})
        )
        return
    click.echo(WORDS[name](table))
    click.echo(f"in {asked.file}, [{name}]", err=True)


def _name(frame: Frame) -> str:
    return frame.label or f"frame {frame.index}"


def _rgb(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = (round(float(value), 2) for value in values)
    return (red, green, blue)


def _told(level: Sequence[float]) -> str:
    return "{:.0f} {:.0f} {:.0f} (red, green, blue)".format(*level)


WORDS: Mapping[str, Callable[[Any], str]] = {
    "exposure": lambda found: f"clear background is {_told(found.level)}, the aim of its brightest channel {_aim(found)}",
    "flat": _flat_words,
    "white": lambda found: f"clear background is {_told(found.level)}, and becomes {found.aim:g}",
    "scale": _scale_words,
    "focus": lambda found: f"sharp frames have {found.sharpest_um:.2f} um of blur, those of {found.softest_um:.2f} still count",
}
"""What is said of each table, in the order in which they are measured."""


def _aim(found: Exposure) -> str:
    return f"{found.aim[0]:g} to {found.aim[1]:g}"
