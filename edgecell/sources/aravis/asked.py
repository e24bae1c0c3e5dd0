"""What a GenICam camera is and can do."""

from collections.abc import Iterator
from typing import Any

from edgecell.cameras import Camera, Control, Mode
from edgecell.sources.aravis.library import Found, in_use
from edgecell.sources.aravis.pixels import FORMATS


def asked(aravis: Any, refused: type[RuntimeError], found: Found) -> Camera:
    """What one camera is and can do."""
    told: dict[str, Any] = {
        "name": f"{found.vendor} {found.model}",
        "where": f"serial {found.serial}, {found.address}",
        "options": {"serial": found.serial},
    }
    try:
        camera = aravis.Camera.new(found.id)
        lacks = "another program uses it: close that" if in_use(camera) else ""
        return Camera(**told, modes=_modes(camera), controls=tuple(_controls(camera)), lacks=lacks)
    except refused as error:
        return Camera(**told, lacks=f"cannot be asked: {error}: close the program that uses it")


def _modes(camera: Any) -> tuple[Mode, ...]:
    width, height = camera.get_sensor_size()
    names = camera.dup_available_pixel_formats_as_strings()
    return tuple(
        Mode(pixel_format=name, width=width, height=height, up_to=True, usable=name in FORMATS) for name in sorted(names)
    )


def _controls(camera: Any) -> Iterator[Control]:
    rows = (
        ("exposure_us", camera.is_exposure_time_available, camera.get_exposure_time_bounds, camera.get_exposure_time),
        ("gain", camera.is_gain_available, camera.get_gain_bounds, camera.get_gain),
        ("fps", camera.is_frame_rate_available, camera.get_frame_rate_bounds, camera.get_frame_rate),
    )
    for name, available, bounds, now in rows:
        if available():
            minimum, maximum = bounds()
            yield Control(name=name, minimum=minimum, maximum=maximum, now=now())
