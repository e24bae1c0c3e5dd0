"""`edgecell cameras`: what is attached, what each camera can do, and the settings that choose it."""

from collections.abc import Iterator, Sequence

import click
import msgspec

from edgecell import plugins, sources
from edgecell.cameras import Camera, Control, Mode
from edgecell.messages import NOTICE
from edgecell.protocols import FrameSource, Probe
from edgecell.tomlfile import written

MODES_SHOWN = 12
"""Of a format: a web camera tells of dozens."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: every camera, and every source's state.")
def command(as_json: bool) -> None:
    """List the cameras that are attached: what each can do, and the settings that choose it, ready to paste.

    Every source that reads cameras is asked for those it finds: their formats, sizes, frame rates, and the limits of exposure
    and gain. A camera may be found by two sources. No picture is taken; a camera that another program uses may not answer, and
    says so. What this machine lacks for a source, `edgecell doctor` tells too.

    \b
    Examples:
      edgecell cameras
      edgecell cameras --json | python -m json.tool
      edgecell snap --source v4l2:0 -o field.png
    """
    found = {part: (loaded.probe(), tuple(loaded.attached())) for part, loaded in _parts()}
    if as_json:
        cameras = [_plain(part, camera) for part, (_, there) in found.items() for camera in there]
        states = {part: probe for part, (probe, _) in found.items()}
        click.echo(msgspec.json.encode({"cameras": cameras, "sources": states, "notice": NOTICE}).decode())
        return
    for part, (_, there) in found.items():
        for camera in there:
            click.echo("\n".join(_lines(part, camera)))
    for part, (probe, there) in found.items():
        if not there:
            click.echo(_none(part, probe))


def block(part: str, camera: Camera) -> str:
    """The settings that choose a camera, as TOML."""
    values = {"part": part, **camera.options}
    return "\n".join(["[source]", *(f"{name} = {written(value)}" for name, value in values.items())]) + "\n"


def _parts() -> Iterator[tuple[str, type[FrameSource]]]:
    for name in sources.TABLE:
        yield name, plugins.load("source", sources.TABLE, name)


def _plain(part: str, camera: Camera) -> dict[str, object]:
    """As JSON holds it, `settings` being the text to paste."""
    plain: dict[str, object] = msgspec.to_builtins(camera)
    return {"source": part, **plain, "settings": block(part, camera)}


def _lines(part: str, camera: Camera) -> Iterator[str]:
    yield f"{camera.name} ({camera.where}), by the source {part}"
    if camera.lacks:
        yield f"  cannot be used: {camera.lacks}"
    for sizes, formats in _formats(camera.modes).items():
        yield f"  {', '.join(formats)}: {sizes}"
    for control in camera.controls:
        yield f"  {_limits(control)}"
    yield "  settings:"
    yield from (f"    {line}" for line in block(part, camera).splitlines())
    yield ""


def _formats(modes: Sequence[Mode]) -> dict[str, list[str]]:
    """Sizes and rates -> the formats that come in them."""
    sizes: dict[str, list[str]] = {}
    for mode in modes:
        name = mode.pixel_format if mode.usable else f"{mode.pixel_format} (cannot be read by this source)"
        sizes.setdefault(name, []).append(_size(mode))
    formats: dict[str, list[str]] = {}
    for name, each in sizes.items():
        more = f"; and {len(each) - MODES_SHOWN} more" if len(each) > MODES_SHOWN else ""
        formats.setdefault("; ".join(each[:MODES_SHOWN]) + more, []).append(name)
    return formats


def _size(mode: Mode) -> str:
    rates = f" at {', '.join(f'{rate:g}' for rate in mode.fps)} fps" if mode.fps else ""
    return f"{'up to ' if mode.up_to else ''}{mode.width}x{mode.height}{rates}"


def _limits(control: Control) -> str:
    now = "" if control.now is None else f", now {control.now:.9g}"
    return f"{control.name}: {control.minimum:.9g} to {control.maximum:.9g}{now}"


def _none(part: str, probe: Probe) -> str:
    return f"{part}: {probe.missing or 'ready, no camera found'}"
