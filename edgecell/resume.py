"""What a run needs to go on in another process as if nothing had happened: kept in the journal with every window."""

from dataclasses import dataclass, field, replace

import msgspec

from edgecell import area as area_state
from edgecell import drift as drift_state
from edgecell.books import Books
from edgecell.errors import JournalError
from edgecell.gate import GateState
from edgecell.journal.reader import State
from edgecell.pipeline import SlideState
from edgecell.protocols import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """After the frames that are settled: what they taught gate and segmenter, what they told of the slide, and the books."""

    gate: GateState = field(default_factory=GateState)
    slide: SlideState = field(default_factory=SlideState)
    memory: Memory = ()
    books: Books = field(default_factory=Books)


def to_state(run: RunState) -> State:
    """As the journal keeps it. MessagePack: numbers exactly as they are. Of the slide it takes along what is near."""
    area, drift = run.gate.area, run.gate.drift
    gate = replace(
        run.gate,
        area=None if area is None else area_state.light(area),
        drift=None if drift is None else drift_state.light(drift),
    )
    return State(body=msgspec.msgpack.encode(_Body(gate=gate, slide=run.slide, books=run.books)), memory=tuple(run.memory))


def from_state(state: State) -> RunState:
    """Raises JournalError where it is none, such as one of a later version."""
    try:
        body = msgspec.msgpack.decode(state.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fix = "begin a new run, or resume it with the edgecell that made it"
        raise JournalError(f"the state of the run cannot be read: {error}", fix=fix) from None
    return RunState(gate=body.gate, slide=body.slide, books=body.books, memory=state.memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """All but the memory."""

    gate: GateState
    slide: SlideState
    books: Books
