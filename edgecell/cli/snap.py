"""`edgecell snap`: one frame of a source, with what is known of it."""

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import cv2
import msgspec

from edgecell import __version__, app, clock, gate, settings
from edgecell.errors import FrameCorrupt, FrameTimeout, SettingsError, SourceUnavailable
from edgecell.files import write_whole
from edgecell.messages import NOTICE, Frame, Verdict
from edgecell.protocols import FrameSource
from edgecell.settings import Settings

SETTLING = 10
"""Frames that an automatic exposure takes, more or less."""


class Snap(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a picture.

    index, label, exposure_us, pixel_um, slide_um: as in Frame. passed_over: damaged frames before it. captured_utc: by this
    machine's clock, which follows a time server if clock_synced. verdict: what the gate says of it as it came, with its usual
    limits: nothing learnt from other frames or taken from an optics file. sha256: of the picture's file.
    """

    picture: str
    sha256: str
    width: int
    height: int
    source: dict[str, Any]
    source_id: str
    index: int
    label: str
    passed_over: int
    captured_utc: str
    clock_synced: bool
    exposure_us: float | None
    pixel_um: float | None
    slide_um: tuple[float, float] | None
    verdict: Verdict
    edgecell: str = __version__
    notice: str = NOTICE


@click.command()
@click.argument("settings_file", metavar="[SETTINGS.toml]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--source", metavar="SPEC", help="v4l2:0, basler:SERIAL, phantom, ...; default: that of the settings, else phantom."
)
@click.option("-o", "--out", required=True, metavar="FILE.png", type=click.Path(path_type=Path), help="Where the picture goes.")
@click.option("--skip", type=click.IntRange(min=0), help=f"Frames let go before it. Default: {SETTLING} of a camera, else 0.")
@click.option(
    "--wait", "wait_s", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds to wait for it."
)
@click.option("--force", is_flag=True, help="Replace a picture of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print the metadata as one JSON object.")
def command(
    settings_file: Path | None, source: str | None, out: Path, skip: int | None, wait_s: float, force: bool, as_json: bool
) -> None:
    """Save one frame as PNG, pixel by pixel as the source gave it, and its metadata beside it as JSON of the same name.

    A camera's first frames are let go, since an automatic exposure needs some. The metadata says which camera and settings it
    was, when, with which exposure, and what the gate thinks of it: level, saturation, focus. No cell is looked for, and an
    optics file is not applied.

    \b
    Examples:
      edgecell snap -o field.png
      edgecell snap --source v4l2:device=0,width=1920,height=1080 -o field.png
      edgecell snap bench.toml -o reference.png --json
    """
    beside = out.with_suffix(".json")
    _check_names(out, beside, force=force)
    chosen = settings.load(settings_file) if settings_file else Settings()
    if source is not None:
        chosen = msgspec.structs.replace(chosen, source=settings.source_from_spec(source))
    part = app.choose("source", chosen.source)
    camera: FrameSource = part.make()
    with camera:
        frame, passed_over = _frame(camera, (SETTLING if camera.live else 0) if skip is None else skip, wait_s)
    png = _encoded(frame)
    snap = Snap(
        picture=out.name,
        sha256=hashlib.sha256(png).hexdigest(),
        width=frame.image.shape[1],
        height=frame.image.shape[0],
        source=part.told(),
        source_id=frame.source_id,
        index=frame.index,
        label=frame.label,
        passed_over=passed_over,
        captured_utc=_utc(frame.captured_ns),
        clock_synced=clock.synced(),
        exposure_us=frame.exposure_us,
        pixel_um=frame.pixel_um,
        slide_um=frame.slide_um,
        verdict=gate.judge(frame, gate.Limits(), gate.GateState())[0],
    )
    told = msgspec.json.encode(snap)
    try:
        write_whole(out, png)
        write_whole(beside, msgspec.json.format(told, indent=2) + b"\n")
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written: {error.strerror}", fix="choose another folder") from None
    click.echo(told.decode() if as_json else _line(out, snap))


def _check_names(out: Path, beside: Path, *, force: bool) -> None:
    """Before a camera is opened. Raises SettingsError."""
    if out.suffix.lower() != ".png":
        raise SettingsError(
            f"{out} is no name of a PNG", fix="end it in .png: no other format keeps every pixel and is as common"
        )
    if not out.parent.is_dir():
        raise SettingsError(f"{out.parent} is no folder", fix="make it, or choose another")
    for path in (out, beside):
        if path.exists() and not force:
            raise SettingsError(f"{path} exists already", fix="choose another name, or --force")


def _frame(source: FrameSource, skip: int, wait_s: float) -> tuple[Frame, int]:
    """The first whole frame after `skip` others, and how many damaged ones came. Raises SourceError when it does not come."""
    ends_ns = clock.monotonic_ns() + round(wait_s * 1e9)
    seen = damaged = 0
    while (left_s := (ends_ns - clock.monotonic_ns()) / 1e9) > 0:
        try:
            frame = source.read(left_s)
        except FrameCorrupt:
            damaged += 1
            continue
        if frame is None:
            what = f"{source.source_id}: ended after {seen} whole frames and {damaged} damaged ones"
            raise SourceUnavailable(what, fix="give a smaller --skip, or another source")
        if seen == skip:
            return frame, damaged
        seen += 1
    what = f"{source.source_id}: {seen} whole frames and {damaged} damaged ones within {wait_s:g} s, not {skip + 1}"
    raise FrameTimeout(what, fix="give a longer --wait or a smaller --skip; check camera and cable")


def _encoded(frame: Frame) -> bytes:
    _, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def _utc(captured_ns: int) -> str:
    """The wall clock's time of a frame, as ISO 8601 UTC with milliseconds."""
    seconds = (clock.utc_ns() - (clock.monotonic_ns() - captured_ns)) / 1e9
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(out: Path, snap: Snap) -> str:
    verdict = snap.verdict
    level = f"level {verdict.mean_level:.2f}, saturated {verdict.saturated_fraction:.1%}"
    judged = "the gate would take it" if verdict.accepted else f"the gate would refuse it: {verdict.reason}"
    return f"{out}: {snap.width}x{snap.height}, frame {snap.index} of {snap.source_id}; {level}; {judged}"
