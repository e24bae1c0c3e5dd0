"""Frames from a Basler camera (GigE, USB3), read with Basler's pylon SDK.

Tested with the real SDK and the cameras that it emulates (PYLON_CAMEMU=1 in the environment makes one); no real camera was at
hand. The emulated ones do not tell when a buffer was filled (TimeStamp stays 0), so frames are stamped here.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from typing_extensions import Self

from edgecell import clock
from edgecell.blocks import blocks_on
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.sources.basler.asked import asked
from edgecell.sources.basler.sdk import CONNECT, CONTROLS, found, library, said

COLOUR = ("Bayer", "RGB", "BGR", "YCbCr", "YUV")
"""How the names of pixel formats with colour begin (PFNC, and the older names)."""
PREFERRED = ("BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8", "RGB8", "RGB8Packed", "BGR8", "BGR8Packed", "YCbCr422_8")
"""Least to transfer first: a byte a pixel, and its colours are made here. A camera has one of the four Bayer patterns."""
NO_BLOCK = 2**64 - 1
"""BlockID of a buffer without a number. 0 is that too, but for the first one of a USB camera (pylon's documentation)."""
MS = 1000

Pixels = Annotated[int, Meta(ge=16, le=16384)]


class BaslerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """serial: the number on the camera. index: where no serial is given, its place among the cameras sorted by serial.

    features: a .pfs file, as pylon Viewer saves it, loaded first; what is not said here stays as it says, or as the camera has
    it: width, height (pixels, from the middle of the sensor), fps (frames a second at most; triggers are turned off),
    exposure_us (microseconds), gain (the camera's unit), pixel_format (by the camera's name for it; one without colour is taken
    only if it is named here). latest: who is slow gets the newest frame, and the others count as lost; else every frame,
    however late. buffers: frames that may wait before there are losses.
    """

    serial: str = ""
    index: Annotated[int, Meta(ge=0, le=255)] = 0
    features: Path | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    pixel_format: str | None = None
    fps: Annotated[float, Meta(ge=0.01, le=1000)] | None = None
    exposure_us: Annotated[float, Meta(gt=0, le=10_000_000)] | None = None
    gain: float | None = None
    latest: bool = True
    buffers: Annotated[int, Meta(ge=2, le=100)] = 10


class BaslerSource:
    """Live frames by the camera's own numbers, the first that is read being 0: those that never came, and those that nobody
    took in time, are gaps.

    captured_ns is the time of reading. pylon writes each image into an array that is the frame's own, colours and all: no copy.
    """

    Options = BaslerOptions
    live = True

    def __init__(self, options: BaslerOptions) -> None:
        self._options = options
        self.source_id = f"basler:{options.serial or options.index}"
        self._pylon: Any = None
        self._camera: Any = None
        self._converter: Any = None
        self._exposure_us: float | None = None
        self._index = -1
        self._block: int | None = None

    def __enter__(self) -> Self:
        """Raises MissingDependency without pypylon. SourceUnavailable: no such camera, in use, or it refuses a setting."""
        self._pylon = library()
        try:
            self._open()
        except self._pylon.GenericException as error:
            self._close()
            fix = "close the program that uses it, or unplug it and plug it in again"
            raise SourceUnavailable(f"{self.source_id}: cannot be opened: {said(error)}", fix=fix) from error
        except BaseException:
            self._close()
            raise
        self._index, self._block = -1, None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._close()

    @classmethod
    def probe(cls) -> Probe:
        """Usable if a camera is found; whether it may be opened shows when it is."""
        try:
            pylon = library()
        except MissingDependency as error:
            return Probe(usable=False, version="", missing=f"{error.what}: {error.fix}")
        version = f"pypylon {metadata.version('pypylon')}"
        try:
            there = found(pylon)
        except pylon.GenericException as error:
            return Probe(usable=False, version=version, missing=f"pylon cannot look for cameras: {said(error)}")
        return Probe(usable=bool(there), version=version, missing="" if there else f"no Basler camera: {CONNECT}")

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        """The cameras that pylon finds, each opened to ask it; one that another program holds cannot be asked."""
        try:
            pylon = library()
        except MissingDependency:
            return ()
        try:
            there = found(pylon)
        except pylon.GenericException:
            return ()
        return [asked(pylon, each) for each in there]

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; a camera has no last one. Raises FrameTimeout, FrameCorrupt, SourceUnavailable when it is gone."""
        camera = self._camera
        if camera is None:
            raise SourceUnavailable(f"{self.source_id}: is not open", fix="use it inside a with statement")
        try:
            result = camera.RetrieveResult(round(timeout_s * MS), self._pylon.TimeoutHandling_Return)
            try:
                return self._frame(result, timeout_s)
            finally:
                result.Release()
        except self._pylon.GenericException as error:
            raise self._gone(said(error)) from error

    def _frame(self, result: Any, timeout_s: float) -> Frame:
        captured_ns = clock.monotonic_ns()
        whole = result.IsValid() and result.GrabSucceeded()
        if not whole and (self._camera.IsCameraDeviceRemoved() or not self._camera.IsGrabbing()):
            raise self._gone()
        if not result.IsValid():
            raise FrameTimeout(f"{self.source_id}: no frame within {timeout_s:g} s", fix="check camera and cable")
        before, self._block = self._block, block_of(self._block, result.BlockID)
        self._index += blocks_on(before, self._block)
        if not whole:
            what = f"{self.source_id}: frame {self._index} is damaged: {result.ErrorDescription}"
            raise FrameCorrupt(what, fix="use a shorter cable, or jumbo frames on GigE; ask for less fps", index=self._index)
        image = self._converter.ConvertToArray(result)
        image.setflags(write=False)
        return Frame(
            source_id=self.source_id,
            index=self._index,
            captured_ns=captured_ns,
            image=image,
            exposure_us=self._exposure_us,
        )

    def _open(self) -> None:
        pylon, wanted = self._pylon, self._options
        self._camera = pylon.InstantCamera(pylon.TlFactory.GetInstance().CreateDevice(self._chosen()))
        self._camera.Open()
        if wanted.features is not None:
            self._load(wanted.features)
        self._free_running()
        self._set_format()
        for name, side in (("Width", wanted.width), ("Height", wanted.height)):
            if side is not None:
                self._set_side(name, side)
        self._set_controls()
        self._camera.MaxNumBuffer.Value = wanted.buffers
        self._camera.StartGrabbing(pylon.GrabStrategy_LatestImageOnly if wanted.latest else pylon.GrabStrategy_OneByOne)

    def _close(self) -> None:
        """A camera that still grabs when the interpreter ends takes the process down with it."""
        camera, self._camera, self._converter = self._camera, None, None
        if camera is None:
            return
        try:
            camera.StopGrabbing()
            camera.Close()
        except self._pylon.GenericException:  # it is gone: nothing is left to close
            camera.DestroyDevice()

    def _chosen(self) -> Any:
        """pylon's description of the camera that is asked for."""
        there, wanted = found(self._pylon), self._options
        named = [each for each in there if each.GetSerialNumber() == wanted.serial] if wanted.serial else there[wanted.index :]
        if not named:
            serials = ", ".join(f"{each.GetSerialNumber()} ({each.GetModelName()})" for each in there)
            raise SourceUnavailable(f"{self.source_id}: no such camera", fix=f"use serial: {serials}" if serials else CONNECT)
        return named[0]

    def _load(self, features: Path) -> None:
        try:
            self._pylon.FeaturePersistence.Load(str(features), self._camera.GetNodeMap(), True)
        except self._pylon.GenericException as error:
            fix = "save it from this camera with pylon Viewer"
            raise SourceUnavailable(f"{features}: does not load into {self.source_id}: {said(error)}", fix=fix) from error

    def _free_running(self) -> None:
        """Frame after frame, whatever triggers the camera was left with."""
        selector = self._node("TriggerSelector")
        for trigger in selector.Symbolics if selector is not None else ():
            selector.Value = trigger
            if (mode := self._node("TriggerMode")) is not None:
                mode.Value = "Off"
        if (mode := self._node("AcquisitionMode")) is not None:
            mode.Value = "Continuous"

    def _set_format(self) -> None:
        """Pixel format, and what makes RGB of it."""
        wanted, node = self._options.pixel_format, self._camera.PixelFormat
        offered = node.Symbolics
        if wanted is None:
            wanted = next((each for each in (node.Value, *PREFERRED) if each in offered and each.startswith(COLOUR)), None)
        if wanted not in offered:
            what = "has no colour" if wanted is None else f"has no pixel_format {wanted}"
            fix = f"set pixel_format to one of {', '.join(offered)}"
            raise SourceUnavailable(f"{self.source_id}: {what}", fix=fix)
        node.Value = wanted
        pylon = self._pylon
        self._converter = pylon.ImageFormatConverter()
        self._converter.OutputPixelFormat = pylon.PixelType_RGB8packed
        self._converter.InconvertibleEdgeHandling.Value = "Extend"  # else the outermost pixels of a Bayer image are black
        if not self._converter.IsSupportedInputFormat(node.GetIntValue()):
            fix = "set pixel_format to another: Bayer of 8 bits is best"
            raise SourceUnavailable(f"{self.source_id}: pylon makes no RGB of {wanted}", fix=fix)

    def _set_side(self, name: str, pixels: int) -> None:
        """Width or height, around the middle of the sensor, where the optical axis is."""
        offset = self._node("OffsetX" if name == "Width" else "OffsetY")
        if offset is not None:
            offset.Value = offset.Min  # it limits the size
        self._set(name.lower(), pixels)
        if offset is not None:
            offset.Value = offset.Min + (offset.Max - offset.Min) // 2 // offset.Inc * offset.Inc

    def _set_controls(self) -> None:
        wanted = self._options
        if wanted.fps is not None:
            if (enable := self._node("AcquisitionFrameRateEnable")) is not None:
                enable.Value = True
            self._set("fps", wanted.fps)
        if wanted.exposure_us is not None:
            self._off("ExposureAuto")
            self._set("exposure_us", wanted.exposure_us)
        if wanted.gain is not None:
            self._off("GainAuto")
            self._set("gain", wanted.gain)
        node = self._node(*CONTROLS["exposure_us"])
        chosen = self._node("ExposureAuto")
        fixed = node is not None and (chosen is None or chosen.Value == "Off")
        self._exposure_us = float(node.Value) if fixed else None

    def _set(self, option: str, value: float) -> None:
        """Set what the user chose. Raises SourceUnavailable with what the camera takes."""
        names = CONTROLS.get(option, (option.capitalize(),))
        node = self._node(*names)
        if node is None:
            raise SourceUnavailable(f"{self.source_id}: has no {names[0]}", fix=f"leave {option} out")
        try:
            node.Value = type(node.Value)(value)
        except self._pylon.GenericException as error:
            what = f"{self.source_id}: does not take {option} = {value:g}: {said(error)}"
            raise SourceUnavailable(what, fix=f"give {node.Min:g} to {node.Max:g}") from error

    def _off(self, name: str) -> None:
        if (node := self._node(name)) is not None:
            node.Value = "Off"

    def _node(self, *names: str) -> Any:
        """The first of these controls that the camera has and lets be set now, None if it has none."""
        nodes = self._camera.GetNodeMap()
        return next((node for node in map(nodes.GetNode, names) if node.IsWritable()), None)

    def _gone(self, why: str = "") -> SourceUnavailable:
        what = f"{self.source_id}: the camera is gone"
        return SourceUnavailable(f"{what}: {why}" if why else what, fix="plug it in again: a run goes on by itself")


def block_of(before: int | None, told: int) -> int | None:
    """The number of a buffer whose BlockID is `told`; where that says nothing, it is the one after `before`."""
    if told == NO_BLOCK or (told == 0 and before is not None):
        return None if before is None else before + 1
    return told
