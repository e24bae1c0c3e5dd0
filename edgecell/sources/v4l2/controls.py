"""Exposure, gain and white balance of a camera, and what chooses them when nobody else does."""

from typing import Final

from edgecell.cameras import Control
from edgecell.sources.v4l2 import kernel
from edgecell.sources.v4l2.node import Node

EXPOSURE_UNIT_US: Final = 100
"""EXPOSURE_ABSOLUTE counts in units of 100 us (kernel documentation, camera control reference)."""
FULL_AUTO, MANUAL, APERTURE_PRIORITY = 0, 1, 3
"""EXPOSURE_AUTO. Cameras of the USB video class have MANUAL and one of the others."""
CONTROLS: Final = {
    "exposure_us": (kernel.EXPOSURE_ABSOLUTE, EXPOSURE_UNIT_US),
    "gain": (kernel.GAIN, 1),
    "white_balance_k": (kernel.WHITE_BALANCE_TEMPERATURE, 1),
}
"""Option -> the control, and what one of its units is in the option's."""


class NotTaken(Exception):
    """The camera does not do what was asked for."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def set_controls(node: Node, exposure_us: float | None, gain: float | None, white_balance_k: float | None) -> float | None:
    """Set what is given and leave the rest to the camera, gain as it is; the exposure in us that is in force, None where the
    camera chooses it. Raises NotTaken, OSError."""
    _switch(node, kernel.AUTO_WHITE_BALANCE, int(white_balance_k is None))
    _switch(node, kernel.EXPOSURE_AUTO, *((APERTURE_PRIORITY, FULL_AUTO) if exposure_us is None else (MANUAL,)))
    if gain is not None:
        _switch(node, kernel.AUTOGAIN, 0)
    for option, value in {"gain": gain, "white_balance_k": white_balance_k}.items():
        if value is not None:
            _insist(node, option, value)
    return None if exposure_us is None else _insist(node, "exposure_us", exposure_us)


def limits(node: Node) -> tuple[Control, ...]:
    """What the options may be, of those that the camera has."""
    found = ((option, unit, control, node.limits(control)) for option, (control, unit) in CONTROLS.items())
    return tuple(
        Control(name=option, minimum=each.minimum * unit, maximum=each.maximum * unit, now=node.value(control) * unit)
        for option, unit, control, each in found
        if each is not None
    )


def _switch(node: Node, control: int, *values: int) -> None:
    """Set a control that may be missing to the first of the values that it takes."""
    if node.limits(control) is not None:
        next((value for value in values if node.set_value(control, value) == value), None)


def _insist(node: Node, option: str, wanted: float) -> float:
    """Set what the user chose; the value that is in force. Cameras round to their own steps, so a tenth is taken for it."""
    control, unit = CONTROLS[option]
    told = node.limits(control)
    if told is None:
        raise NotTaken(f"does not take {option} = {wanted:g}: it has no such control", f"leave {option} out")
    value = round(wanted / unit)
    found = node.set_value(control, value) if told.minimum <= value <= told.maximum else node.value(control)
    if abs(found - value) > max(told.step, 0.1 * abs(value)):
        held = "; another control holds it" if told.inactive else ""
        what = f"does not take {option} = {wanted:g}, it stays at {found * unit:g}{held}"
        raise NotTaken(what, f"give {told.minimum * unit:g} to {told.maximum * unit:g}, or leave {option} out")
    return float(found * unit)
