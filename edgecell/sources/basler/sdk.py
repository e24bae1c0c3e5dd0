"""Basler's pylon SDK: how it is loaded, what it finds, and what it says."""

import re
import warnings
from typing import Any

from edgecell.errors import MissingDependency

INSTALL = "pip install 'edgecell[basler]'"
CONNECT = "connect one; USB needs a udev rule for vendor 2676, GigE an address in this machine's network"
CONTROLS = {
    "exposure_us": ("ExposureTime", "ExposureTimeAbs"),
    "gain": ("Gain", "GainRaw"),
    "fps": ("AcquisitionFrameRate", "AcquisitionFrameRateAbs"),
}
"""Option -> its names at newer cameras and at older ones for GigE."""


def found(pylon: Any) -> list[Any]:
    """pylon's descriptions of the cameras that are there, by serial number."""
    return sorted(pylon.TlFactory.GetInstance().EnumerateDevices(), key=lambda each: str(each.GetSerialNumber()))


def said(error: Exception) -> str:
    """pylon's words without the place in its source."""
    return re.sub(r"[.:\s]*\w+Exception thrown.*", "", str(error), flags=re.DOTALL)


def library() -> Any:
    """pypylon's module, which has no types. Its extension crashes where a warning of its import is turned into an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pypylon import pylon
    except ImportError as error:
        raise MissingDependency(f"a Basler camera needs pypylon: {error}", fix=INSTALL) from error
    return pylon
