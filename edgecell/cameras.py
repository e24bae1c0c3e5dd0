"""A camera that is attached to this machine: what it is, what it can do, and the settings that choose it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A kind of picture that a camera gives.

    pixel_format: by the camera's own name. width, height: pixels; up_to: every size from some smallest one to this. fps: frames
    a second, the fastest first, empty where it does not tell. usable: the source makes RGB of it.
    """

    pixel_format: str
    width: int
    height: int
    up_to: bool = False
    fps: tuple[float, ...] = ()
    usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What of a camera can be set. name: the source's option for it, in whose unit the limits are. now: its present value."""

    name: str
    minimum: float
    maximum: float
    now: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera.

    name: as its maker, or its driver, calls it. where: serial number, device node or address. options: of the source, what
    chooses this camera, and a mode that suits a microscope; TOML holds all of their values. modes, controls: as far as it tells
    without taking a picture. lacks: why the source cannot use it, and how it can; "" if it can.
    """

    name: str
    where: str
    options: Mapping[str, str | int | float | bool]
    modes: tuple[Mode, ...] = ()
    controls: tuple[Control, ...] = ()
    lacks: str = ""
