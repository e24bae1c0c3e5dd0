"""What a listener makes of what it hears: each message once, in order, and what was missed asked for. Without sockets or clock.

    live ----> [ in order? ] --yes--------------------------------> ready
                    | no                                              ^
                    v                                                 |
               catching up: ask, read a page, ask again, until the newest live message is reached

While it catches up it keeps only the newest live message, for the record has those between as well: memory stays a page,
however long it was away. Where nothing can be asked, or the record has not got it either, the jump is counted as a gap.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edgecell import wire
from edgecell.errors import PublishError
from edgecell.wire import CountsMessage, Heartbeat, Message, Replay, Replayed

PATIENCE_S, ATTEMPTS = 3.0, 4
"""Seconds that an answer may take, and how often it is asked for before the rest counts as lost."""
PAUSE_S = 30.0
"""Seconds for which a device that did not answer is not asked again."""
READY = 200
"""Messages that may wait to be taken before the next page is asked for."""
BEYOND = 2**53 - 1
"""A sequence number after which there is none, to be told the next run."""
RUNS = 16
"""Runs of a device whose place is remembered, so that a late repeat of one is known."""

COUNTS: Literal["counts/1"] = "counts/1"
HEARTBEAT = "heartbeat/1"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last message that was dealt with. A listener that keeps it goes on from there when it starts again."""

    device_id: str
    run_id: str
    sequence: int


@dataclass(slots=True, kw_only=True)
class _CatchUp:
    """What a device is asked for. after: the last sequence number of run_id that is here. target: run and sequence number of
    the newest message that is known of. held: the newest one that came live."""

    key: Key
    run_id: str
    after: int
    target: tuple[str, int]
    held: CountsMessage | None
    attempts: int = 0
    due_ns: int = 0
    awaited: int = 0


@dataclass(slots=True)
class _Places:
    """Run -> last sequence number, of one topic of one device. The last run is the current one."""

    runs: "OrderedDict[str, int]" = field(default_factory=OrderedDict)

    @property
    def run_id(self) -> str:
        return next(reversed(self.runs))

    def reach(self, run_id: str, sequence: int) -> None:
        self.runs[run_id] = sequence
        self.runs.move_to_end(run_id)
        if len(self.runs) > RUNS:
            self.runs.popitem(last=False)


class Follower:
    """Of some topics of one publisher. after: go on from there, instead of from the first message that comes. replay: where to
    ask, whatever the device says of it.

    ready: messages to be taken, in order. gaps: counts messages that were lost for good. replayed: those that were asked for.
    unreadable: what could not be decoded, or does not add up; last_problem says why. replay: where the device answers
    requests, "" nowhere, None while it has not said so. stale: an answer is overdue, and the connection had better be new.
    """

    def __init__(self, topics: Iterable[str], after: Position | None = None, replay: str = "") -> None:
        self.topics = tuple(topics)
        self.ready: deque[Message] = deque()
        self.gaps = self.replayed = self.unreadable = 0
        self.last_problem = ""
        self.replay: str | None = replay or None
        self.stale = False
        self._override = replay
        self._places: dict[Key, _Places] = {}
        self._catching_up: dict[Key, _CatchUp] = {}
        self._paused_until_ns = 0
        self._number = 0
        if after is not None:
            self._place((COUNTS, after.device_id)).reach(after.run_id, after.sequence)

    @property
    def catching_up(self) -> bool:
        return bool(self._catching_up)

    def live(self, payload: bytes, now_ns: int) -> None:
        """A message from the bus."""
        message = self._decode(payload)
        if isinstance(message, Heartbeat):
            self._hear(message, now_ns)
        elif message is not None and COUNTS in self.topics:
            self._count(message, now_ns)

    def request(self, now_ns: int) -> bytes | None:
        """What is to be asked now, if anything. To be called whenever something has happened, and after `wait_ms`."""
        asking = self._asking()
        if asking is None or len(self.ready) > READY or now_ns < asking.due_ns:
            return None
        if asking.attempts == ATTEMPTS:
            self.last_problem = f"{ATTEMPTS} requests for what was missed were not answered with it"
            self._paused_until_ns = now_ns + round(PAUSE_S * 1e9)
            self._give_up(asking)
            return self.request(now_ns)
        self.stale = asking.attempts > 0
        asking.attempts += 1
        asking.due_ns = now_ns + round(PATIENCE_S * 1e9)
        self._number = asking.awaited = self._number + 1
        asked = Replay(id=self._number, topic=COUNTS, run_id=asking.run_id, after=asking.after)
        return msgspec.json.encode(asked) if self.replay else None

    def wait_ms(self, now_ns: int) -> int | None:
        """Milliseconds until `request` is to be called again, None while only something new can matter."""
        asking = self._asking()
        return None if asking is None else max(0, -((now_ns - asking.due_ns) // 1_000_000))

    def answer(self, payload: bytes, now_ns: int) -> None:
        """An answer to a request."""
        asking = self._asking()
        try:
            page = msgspec.json.decode(payload, type=Replayed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.spoilt(f"answer cannot be read: {error}")
            if asking is not None:
                asking.due_ns = now_ns
            return
        if asking is not None and page.id == asking.awaited:  # else it comes late: it was asked again
            asking.awaited, asking.due_ns = 0, now_ns
            self._read(asking, page)

    def cannot_ask(self, problem: str) -> None:
        """The device is not to be asked: what it announced is of no use here."""
        self.last_problem, self.replay = problem, ""
        self._go_on()

    def _asking(self) -> _CatchUp | None:
        """One device after the other."""
        return next(iter(self._catching_up.values()), None)

    def _read(self, asking: _CatchUp, page: Replayed) -> None:
        if page.error:
            self.last_problem = page.error
            asking.due_ns += round(min(max(0.0, page.retry_s), PAUSE_S) * 1e9)
            if page.retry_s <= 0:
                self._give_up(asking)
        elif page.messages:
            self._take(asking, page.messages)
        else:
            asking.attempts = 0
            self._turn_page(asking, page.next_run)

    def _take(self, asking: _CatchUp, payloads: Iterable[msgspec.Raw]) -> None:
        """A page. From a message that is spoilt on it is asked for again; only where that does not help the message is passed
        over, and counts as a gap."""
        before = asking.after
        for payload in payloads:
            message = self._decode(payload)
            if isinstance(message, CountsMessage) and message.run_id == asking.run_id:
                if message.device_id != asking.key[1]:  # a journal that several devices keep: on to the next run
                    asking.after = BEYOND
                    break
                self._take_one(asking, message)
            elif asking.attempts < ATTEMPTS:
                break
        if asking.after > before:
            asking.attempts = 0
        if asking.run_id == asking.target[0] and asking.after >= asking.target[1]:
            del self._catching_up[asking.key]

    def _take_one(self, asking: _CatchUp, message: CountsMessage) -> None:
        if message.sequence > asking.after:
            self.gaps += message.sequence - asking.after - 1
            self.replayed += 1
            asking.after = message.sequence
            self._accept(asking.key, message)

    def _turn_page(self, asking: _CatchUp, next_run: str) -> None:
        """The record has no more of this run: on to the next one, or to the live message."""
        if asking.run_id == asking.target[0]:
            self._give_up(asking)
            return
        known = self._places[asking.key].runs
        asking.run_id = next_run if next_run and next_run not in known else asking.target[0]
        asking.after = known.get(asking.run_id, -1)

    def _give_up(self, asking: _CatchUp) -> None:
        """Go on with the live message; what else is missing is lost."""
        del self._catching_up[asking.key]
        (run_id, sequence), held = asking.target, asking.held
        after = asking.after if asking.run_id == run_id else None
        if held is not None and held.run_id == run_id and held.sequence > (-1 if after is None else after):
            self.gaps += 0 if after is None else held.sequence - after - 1
            self._accept(asking.key, held)
            after = held.sequence
        if after is not None and sequence > after:
            self.gaps += sequence - after
            self._place(asking.key).reach(run_id, sequence)

    def _go_on(self) -> None:
        """Nothing can be asked for."""
        while (asking := self._asking()) is not None:
            self._give_up(asking)

    def _hear(self, beat: Heartbeat, now_ns: int) -> None:
        """Only the newest says anything, so one that was lost is no gap. It may say that nothing can be asked for, and that the
        latest counts never came."""
        place = self._place((HEARTBEAT, beat.device_id))
        if beat.sequence <= place.runs.get(beat.run_id, -1):
            return
        place.reach(beat.run_id, beat.sequence)
        asking = self._asking()
        if self.replay is None and asking is not None:
            asking.attempts, asking.due_ns = 0, now_ns
        self.replay = beat.replay and (self._override or beat.replay)
        if not self.replay:
            self._go_on()
        if COUNTS in self.topics and beat.counts_sequence >= 0:
            self._aim((COUNTS, beat.device_id), beat.run_id, beat.counts_sequence, None, now_ns)
        if HEARTBEAT in self.topics:
            self.ready.append(beat)

    def _count(self, message: CountsMessage, now_ns: int) -> None:
        key = COUNTS, message.device_id
        place = self._place(key)
        following = not place.runs or (message.run_id, message.sequence - 1) == (place.run_id, place.runs[place.run_id])
        if following and key not in self._catching_up:
            self._accept(key, message)
        else:
            self._aim(key, message.run_id, message.sequence, message, now_ns)

    def _aim(self, key: Key, run_id: str, sequence: int, held: CountsMessage | None, now_ns: int) -> None:
        """There is a message that may not be here: fetch it, and all before it."""
        place, asking = self._place(key), self._catching_up.get(key)
        if not place.runs or sequence <= place.runs.get(run_id, -1):
            return
        if asking is None:
            last = place.run_id
            asking = _CatchUp(key=key, run_id=last, after=place.runs[last], target=(run_id, sequence), held=held, due_ns=now_ns)
            self._catching_up[key] = asking
        elif run_id != asking.target[0] or sequence >= asking.target[1]:
            asking.target, asking.held = (run_id, sequence), held or asking.held
        if self.replay == "" or now_ns < self._paused_until_ns:
            self._give_up(asking)

    def _accept(self, key: Key, message: CountsMessage) -> None:
        self._place(key).reach(message.run_id, message.sequence)
        self.ready.append(message)

    def _place(self, key: Key) -> _Places:
        return self._places.setdefault(key, _Places())

    def _decode(self, payload: bytes | msgspec.Raw) -> Message | None:
        try:
            message = wire.from_wire(bytes(payload))
        except PublishError as error:
            self.spoilt(str(error))
            return None
        if isinstance(message, CountsMessage) and not adds_up(message):
            self.spoilt(f"message {message.sequence} of {message.device_id} does not add up")
            return None
        return message

    def spoilt(self, problem: str) -> None:
        """Something that came cannot be used."""
        self.unreadable += 1
        self.last_problem = problem


def adds_up(message: CountsMessage) -> bool:
    """Whether the totals of a message are consistent: a figure that was changed on an open line shows in one of them."""
    frames, share = message.frames, message.differential
    return (
        sum(message.cumulative.values()) + message.unsure + sum(message.excluded.values()) == message.cells_total
        and frames.processed + frames.dropped + frames.gated + frames.failed + frames.in_flight == frames.captured
        and sum(row.count for row in share.rows) == share.n
        and all(message.cumulative.get(row.label, 0) == row.count for row in share.rows)
    )
