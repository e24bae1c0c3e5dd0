"""What is behind a /dev/video node: a camera, what it can do, and which of it to choose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecell.cameras import Camera, Mode
from edgecell.sources.v4l2 import controls, kernel
from edgecell.sources.v4l2.kernel import Kernel
from edgecell.sources.v4l2.node import Node
from edgecell.sources.v4l2.pixels import MJPG

ENOUGH_FPS: Final = 10.0
"""Of a slide that is moved by hand; a larger picture is worth more than a faster one."""
SIZES_TOLD: Final = 8


def camera_at(path: Path, chosen_by: str, calls: Kernel) -> Camera | None:
    """The camera behind a node, None where it gives no pictures. chosen_by: the path that stays the same. Raises OSError."""
    with Node(path, calls) as node:
        told = node.capability()
        if not is_camera(told):
            return None
        name, where = told.card.decode("utf-8", "replace"), f"{path}, {told.bus_info.decode('utf-8', 'replace')}"
        why = unfit(told)
        if why:
            return Camera(name=name, where=where, options={"device": chosen_by}, lacks=why)
        modes = tuple(node.modes())
        chosen = choice(modes)
        if chosen is None:
            others = ", ".join(dict.fromkeys(mode.pixel_format for mode in modes)) or "no format"
            lacks = f"it gives {others}, which this source cannot read; a Jetson's or Pi's own: by gstreamer or picamera2"
            return Camera(name=name, where=where, options={"device": chosen_by}, modes=modes, lacks=lacks)
        options: dict[str, str | int | float | bool] = {
            "device": chosen_by,
            "fourcc": chosen.pixel_format,
            "width": chosen.width,
            "height": chosen.height,
        }
        if chosen.fps:
            options["fps"] = chosen.fps[0]
        return Camera(name=name, where=where, options=options, modes=modes, controls=controls.limits(node))


def choice(modes: Sequence[Mode]) -> Mode | None:
    """The largest picture that comes often enough; of equal ones that which is not compressed, then the faster."""
    usable = [mode for mode in modes if mode.usable]
    often = [mode for mode in usable if not mode.fps or mode.fps[0] >= ENOUGH_FPS]
    return max(
        often or usable,
        key=lambda mode: (mode.width * mode.height, mode.pixel_format != MJPG, mode.fps[:1]),
        default=None,
    )


def is_camera(told: kernel.Capability) -> bool:
    """Whether it takes pictures, and does not only convert those that it is given."""
    can = told.device_caps or told.capabilities
    return bool(can & (kernel.VIDEO_CAPTURE | kernel.VIDEO_CAPTURE_MPLANE)) and not can & kernel.VIDEO_M2M


def unfit(told: kernel.Capability) -> str:
    """Why this source can take no pictures of it, "" if it can."""
    can = told.device_caps or told.capabilities
    if not is_camera(told):
        return "gives no pictures; some cameras have a second node that gives other data"
    if not can & kernel.VIDEO_CAPTURE:
        return "gives pictures in several planes, which this source does not read; use gstreamer"
    return "" if can & kernel.STREAMING else "does not stream"


def told_modes(node: Node) -> str:
    """The formats that the source can read, with their sizes."""
    sizes: dict[str, list[str]] = {}
    for mode in node.modes():
        if mode.usable:
            size = f"{'up to ' if mode.up_to else ''}{mode.width}x{mode.height}"
            sizes.setdefault(mode.pixel_format, []).append(size)
    formats: dict[str, list[str]] = {}
    for name, each in sizes.items():
        formats.setdefault(", ".join(each[:SIZES_TOLD] + ["..."] * (len(each) > SIZES_TOLD)), []).append(name)
    told = "; ".join(f"{', '.join(names)}: {each}" for each, names in formats.items())
    return told or "no mode that this source can read"
