"""The seams: what a source, a segmenter, an engine and a publisher must do, whatever they are made of; and who looks on.

All parts are context managers. Construction touches no hardware; `__enter__` does. A part is entered, used and closed on one
thread, chosen by the runtime.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.cameras import Camera
from edgecell.messages import Frame, FrameReport, Segmentation
from edgecell.wire import CountsMessage, Message, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a part can be used on this machine. version: of as much of it as is there. missing: what is lacking and how to
    get it, "" if nothing."""

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

    live: whether it goes on whether or not anyone reads (a camera), so that who is behind must drop; files wait.

    read raises FrameTimeout when nothing came within timeout_s, FrameCorrupt for a frame that cannot be used (it took an
    index), SourceUnavailable when the source is gone. None is the end of the stream.

    attached: the cameras of its kind that are there. It asks them, and takes no picture; one that cannot be asked says why in
    `lacks`. Where what it takes to look is missing there are none, and `probe` tells of that; files are no cameras.
    """

    source_id: str

    @property
    def live(self) -> bool: ...

    def read(self, timeout_s: float) -> Frame | None: ...

    @classmethod
    def attached(cls) -> Sequence[Camera]: ...


@runtime_checkable
class Seekable(Protocol):
    """A source that can give its frames from any one on, so that a run that is resumed goes on with the frame that it needs.

    start_at is called before the source is entered. A camera cannot do that: what it showed meanwhile is gone. fingerprint:
    where it is the same, and the options are, the frames are. Raises SourceUnavailable.
    """

    def start_at(self, index: int) -> None: ...

    def fingerprint(self) -> str: ...


class Segmenter(Part, Protocol):
    """Cells of a frame. kinds: the names that it may give to Cell.kind."""

    kinds: tuple[str, ...]

    def segment(self, frame: Frame) -> Segmentation: ...


Memory = Sequence[tuple[int, bytes]]
"""Pieces of what a part has learnt from the frames so far, oldest first, each with a number that grows. A piece never changes,
so what is new since the last look is what has a larger number."""


@runtime_checkable
class Remembering(Protocol):
    """A segmenter whose answers depend on the frames before. In another process it goes on from its memory, as if it were one.

    memory is a copy. remember is called before the first frame; it raises ValueError for what cannot be its memory.
    """

    @property
    def memory(self) -> Memory: ...

    def remember(self, memory: Memory) -> None: ...


class Engine(Part, Protocol):
    """A model that answers batches.

    infer takes float32 (N, C, H, W), C-contiguous, and returns its outputs by the names that the manifest lists, each float32
    with N in front; the caller owns them. Raises InferenceError.
    """

    description: str

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]: ...


class Pending(Protocol):
    """A batch on its way through an engine."""

    def result(self) -> Mapping[str, NDArray[np.float32]]:
        """Wait for its outputs: those of Engine.infer, and the same ones every time. Raises InferenceError."""


class OverlappingEngine(Engine, Protocol):
    """An engine that takes the next batch while it computes one.

    submit copies what it needs of the batch and returns at once, while fewer than two are on their way; else it waits for the
    older one, whose result is kept for who asks for it. infer is submit and result. Raises InferenceError.
    """

    def submit(self, batch: NDArray[np.float32]) -> Pending: ...


def submit(engine: Engine, batch: NDArray[np.float32]) -> Pending:
    """Start on a batch where the engine overlaps batches, else compute it now. Raises InferenceError."""
    start: Callable[[NDArray[np.float32]], Pending] | None = getattr(engine, "submit", None)
    return _Done(engine.infer(batch)) if start is None else start(batch)


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """A batch that was computed at once."""

    outputs: Mapping[str, NDArray[np.float32]]

    def result(self) -> Mapping[str, NDArray[np.float32]]:
        return self.outputs


class Replayable(Protocol):
    """A record of what was published, for listeners that missed it. Used on the publisher's thread, while frames are waiting:
    it must be quick. Raises JournalError."""

    def messages(self, run_id: str, topic: str, after_sequence: int, limit: int) -> Iterable[Message]:
        """At most `limit` messages of a run with a larger sequence number, in order; none for a run it does not know.

        What is made one by one is not made in vain: a page that is full takes no more."""

    def next_run(self, run_id: str) -> str | None:
        """The run that was recorded after this one; None if it is the last or not known."""


class Publisher(Part, Protocol):
    """Messages out. publish never blocks. serve answers what listeners ask for at most timeout_s.

    replay_from, before it is entered: listeners may ask for what is in this record. conceal, before the first message: the id
    of the run's sample, which no text of a heartbeat names either, unless that is allowed. outgoing: what of a message may be
    on the bus, and what only the publisher knows.
    """

    def replay_from(self, record: Replayable) -> None: ...

    def conceal(self, sample_id: str) -> None: ...

    def outgoing(self, message: Message) -> Message: ...

    def publish(self, topic: str, payload: bytes) -> None: ...

    def serve(self, timeout_s: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a display may show after every frame. fps: frames settled a second, over the run."""

    counts: CountsMessage
    state: State
    fps: float


class Observer(Protocol):
    """Who looks on from inside the process, on the thread that runs the loop: it must be quick."""

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        """After every frame: its report, None for a failed one, and a function that makes the progress on demand."""

    def sent(self, message: Message) -> None:
        """After every message to the bus."""
