"""Aravis: how it is loaded, what cameras it finds, and what it makes of their frames' numbers."""

from dataclasses import dataclass
from typing import Any

from edgecell.errors import MissingDependency

INSTALL = "sudo apt install python3-gi gir1.2-aravis-0.8, and make the environment by: python3 -m venv --system-site-packages"
CONNECT = (
    "connect one; GigE needs an address in this machine's network, USB3 a udev rule for its vendor; "
    "what is there is told by arv-tool-0.8, of aravis-tools-cli"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A camera that answered. id: by which Aravis opens it. address: in the network, or at the USB."""

    id: str
    vendor: str
    model: str
    serial: str
    address: str


def library() -> tuple[Any, type[RuntimeError]]:
    """Aravis, which has no types of its own, and the error that its calls raise. Raises MissingDependency."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:  # ValueError: the binding is there, Aravis is not
        raise MissingDependency(f"Aravis cannot be imported ({error})", fix=INSTALL) from error
    return Aravis, GLib.Error


def version(aravis: Any) -> str:
    """Of its interface: the library itself does not tell more."""
    return f"Aravis {aravis._version}"


def found(aravis: Any) -> list[Found]:
    """The cameras that are there, by serial number. GigE cameras are called by broadcast and have a second to answer."""
    aravis.update_device_list()
    every = [
        Found(
            id=aravis.get_device_id(number),
            vendor=aravis.get_device_vendor(number) or "",
            model=aravis.get_device_model(number) or "",
            serial=aravis.get_device_serial_nbr(number) or "",
            address=aravis.get_device_address(number) or "",
        )
        for number in range(aravis.get_n_devices())
    ]
    return sorted(every, key=lambda each: each.serial)


def in_use(camera: Any) -> bool:
    """Whether another program has the control of a GigE camera. To Aravis that is no error: what is set is just not taken."""
    return camera.is_gv_device() and not camera.get_device().is_controller()
