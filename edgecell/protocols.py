"""The seams: what a source, a segmenter, an engine and a publisher must do, whatever they are made of.

All parts are context managers. Construction touches no hardware; `__enter__` does. A part is entered, used and closed on one
thread, chosen by the runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.messages import Frame, Segmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a part can be used on this machine. missing: what is lacking and how to get it, "" if nothing."""

    usable: bool
    version: str
    missing: str = ""


class Part(Protocol):
    """What every part shares."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @classmethod
    def probe(cls) -> Probe: ...


class FrameSource(Part, Protocol):
    """Frames in order.

    read raises FrameTimeout when nothing came within timeout_s, FrameCorrupt for a frame that cannot be used (it took an
    index), SourceUnavailable when the source is gone. None is the end of the stream.
    """

    source_id: str

    def read(self, timeout_s: float) -> Frame | None: ...


class Segmenter(Part, Protocol):
    """Cells of a frame. kinds: the names that it may give to Cell.kind."""

    kinds: tuple[str, ...]

    def segment(self, frame: Frame) -> Segmentation: ...


class Engine(Part, Protocol):
    """A model that answers batches.

    infer takes float32 (N, C, H, W), C-contiguous, and returns its outputs by the names that the manifest lists, each float32
    with N in front; the caller owns them. Raises InferenceError.
    """

    description: str

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]: ...


class Publisher(Part, Protocol):
    """Messages out. publish never blocks. serve answers what listeners ask for at most timeout_s."""

    def publish(self, topic: str, payload: bytes) -> None: ...

    def serve(self, timeout_s: float) -> None: ...
