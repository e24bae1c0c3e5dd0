"""What a Basler camera is and can do."""

from collections.abc import Iterator
from typing import Any

from edgecell.cameras import Camera, Control, Mode
from edgecell.sources.basler.sdk import CONTROLS, said


def asked(pylon: Any, info: Any) -> Camera:
    """What one camera is and can do."""
    serial = str(info.GetSerialNumber())
    told: dict[str, Any] = {"name": f"{info.GetVendorName()} {info.GetModelName()}", "where": f"serial {serial}"}
    camera = pylon.InstantCamera()
    try:
        camera.Attach(pylon.TlFactory.GetInstance().CreateDevice(info))
        camera.Open()
        return Camera(**told, options={"serial": serial}, modes=_modes(pylon, camera), controls=tuple(_controls(camera)))
    except pylon.GenericException as error:
        return Camera(
            **told, options={"serial": serial}, lacks=f"cannot be asked: {said(error)}: close the program that uses it"
        )
    finally:
        if camera.IsOpen():
            camera.Close()


def _modes(pylon: Any, camera: Any) -> tuple[Mode, ...]:
    converter = pylon.ImageFormatConverter()
    converter.OutputPixelFormat = pylon.PixelType_RGB8packed
    node, width, height = camera.PixelFormat, camera.Width.Max, camera.Height.Max
    return tuple(
        Mode(
            pixel_format=name,
            width=width,
            height=height,
            up_to=True,
            usable=converter.IsSupportedInputFormat(node.GetEntryByName(name).GetValue()),
        )
        for name in node.Symbolics
    )


def _controls(camera: Any) -> Iterator[Control]:
    nodes = camera.GetNodeMap()
    for option, names in CONTROLS.items():
        node = next((node for node in map(nodes.GetNode, names) if node.IsReadable()), None)
        if node is not None:
            yield Control(name=option, minimum=node.Min, maximum=node.Max, now=node.Value)
