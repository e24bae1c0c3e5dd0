"""What a camera module is and can do."""

from collections.abc import Callable, Mapping
from typing import Any

from edgecell.cameras import Camera as Attached
from edgecell.cameras import Control, Mode
from edgecell.sources.raspberry.library import REFUSED, RGB_IN_MEMORY, Camera, why

LIMITED = {"frame_duration_us": "FrameDurationLimits", "exposure_us": "ExposureTime", "gain": "AnalogueGain"}
"""Option -> libcamera's control."""


def asked(make: Callable[[int], Camera], number: int, info: Mapping[str, Any]) -> Attached:
    """What one camera is and can do. Of a module every size up to the sensor's can be had."""
    told: dict[str, Any] = {"name": info["Model"], "where": info["Id"], "options": {"camera": number}}
    try:
        camera = make(number)
        try:
            full = camera.camera_properties.get("PixelArraySize")
            modes = (Mode(pixel_format=RGB_IN_MEMORY, width=full[0], height=full[1], up_to=True),) if full else ()
            limits = {option: camera.camera_controls.get(name) for option, name in LIMITED.items()}
        finally:
            camera.close()
    except REFUSED as error:
        return Attached(**told, lacks=f"cannot be asked: {why(error)}: close the program that uses it")
    controls = tuple(Control(name=name, minimum=each[0], maximum=each[1]) for name, each in limits.items() if each)
    return Attached(**told, modes=modes, controls=controls)
