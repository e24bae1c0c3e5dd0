"""What a listener makes of what it hears, without sockets: order, repeats, gaps, and how it asks for what it missed."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from bus_messages import counts_message, heartbeat
from bus_record import MemoryRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecell.bus import replay
from edgecell.bus.follow import ATTEMPTS, PATIENCE_S, PAUSE_S, Follower, Position, adds_up
from edgecell.bus.replay import ReplayDesk
from edgecell.wire import TYPES, CountsMessage, Message, Replayed, to_wire

AT = "tcp://127.0.0.1:5557"


@pytest.fixture(autouse=True, scope="module")
def unhurried() -> Iterator[None]:
    """No page is closed because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "PAGE_S", 60.0)
        yield


class Line:
    """A follower and the desk that it asks, joined without a network, at a time that stands still until it is told."""

    def __init__(self, record: MemoryRecord, announced: str = AT, **options: Any) -> None:
        self.record, self.follower = record, Follower(tuple(TYPES), **options)
        self.desk = ReplayDesk(record, lambda message: message)
        self.now_ns = 0
        self.heard: list[tuple[str, int]] = []
        self.beats = 0
        if announced is not None:
            self.beat(announced)

    def beat(self, announced: str) -> None:
        self.hear(heartbeat(self.beats, replay=announced))
        self.beats += 1

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.follower.live(to_wire(message)[1], self.now_ns)
            self.take()

    def take(self) -> None:
        while self.follower.ready:
            message = self.follower.ready.popleft()
            if isinstance(message, CountsMessage):
                self.heard.append((message.run_id, message.sequence))

    def ask(self, requests: int = 1000) -> int:
        """Ask and be answered until there is nothing to ask for. Returns how often that was."""
        asked = 0
        while asked < requests and (request := self.follower.request(self.now_ns)) is not None:
            asked += 1
            self.follower.answer(msgspec.json.encode(self.desk._judge(b"me", request)), self.now_ns)
            self.take()
        return asked

    def wait(self) -> None:
        """Until a request is due."""
        wait_ms = self.follower.wait_ms(self.now_ns)
        assert wait_ms is not None
        self.now_ns += wait_ms * 1_000_000


def run(run_id: str, *numbers: int) -> list[CountsMessage]:
    return [counts_message(number, run_id=run_id) for number in numbers]


def test_a_jump_is_fetched_in_order_and_each_once() -> None:
    line = Line(MemoryRecord(run("a", *range(10))))
    line.hear(*run("a", 2, 3, 7))
    assert line.heard == [("a", 2), ("a", 3)]
    line.hear(*run("a", 8))
    line.ask()
    line.hear(*run("a", 8, 9))
    assert line.heard == [("a", number) for number in range(2, 10)]
    assert (line.follower.gaps, line.follower.catching_up) == (0, False)
    assert line.follower.replayed == 6  # 4 to 8, and 9, which the record had already


def test_what_the_record_has_not_got_is_a_gap() -> None:
    line = Line(MemoryRecord(run("a", 0, 1, 4, 5)))
    line.hear(*run("a", 1, 8))
    line.ask()
    assert line.heard == [("a", 1), ("a", 4), ("a", 5), ("a", 8)]
    assert line.follower.gaps == 4  # 2 and 3, 6 and 7


def test_runs_that_passed_unheard_are_fetched_too() -> None:
    """Away from message 1 of run a until message 2 of run c, with run b between."""
    record = MemoryRecord([*run("a", *range(4)), *run("b", *range(3)), *run("c", *range(3))])
    line = Line(record)
    line.hear(*run("a", 0, 1), *run("c", 2))
    line.ask()
    expected = [("a", each) for each in range(4)] + [("b", each) for each in range(3)] + [("c", each) for each in range(3)]
    assert line.heard == expected
    assert line.follower.gaps == 0


def test_runs_of_another_device_in_the_same_journal_are_passed_over() -> None:
    other = [counts_message(number, run_id="b", device_id="bench-4") for number in range(40)]
    line = Line(MemoryRecord([*run("a", 0, 1), *other, *run("c", 0, 1)]))
    line.hear(*run("a", 0), *run("c", 1))
    line.ask()
    assert line.heard == [("a", 0), ("a", 1), ("c", 0), ("c", 1)]
    assert line.follower.gaps == 0


def test_a_program_that_starts_again_goes_on_from_its_position() -> None:
    line = Line(MemoryRecord(run("a", *range(50))), after=Position(device_id="bench-3", run_id="a", sequence=9))
    line.hear(*run("a", 49))
    line.ask()
    assert line.heard == [("a", number) for number in range(10, 50)]


def test_joining_late_is_no_loss() -> None:
    line = Line(MemoryRecord(run("a", *range(100))))
    line.hear(*run("a", 99))
    assert line.ask() == 0
    assert (line.heard, line.follower.gaps) == ([("a", 99)], 0)


def test_without_a_record_the_jump_is_counted_and_nothing_held_back() -> None:
    line = Line(MemoryRecord(), announced="")
    line.hear(*run("a", 0, 5), *run("b", 3))
    assert line.heard == [("a", 0), ("a", 5), ("b", 3)]
    assert (line.follower.gaps, line.ask()) == (4, 0)


def test_it_waits_for_the_device_to_say_where_to_ask() -> None:
    """The first heartbeat may come after the jump."""
    line = Line(MemoryRecord(run("a", *range(9))))
    line.follower.replay = None
    line.hear(*run("a", 0, 8))
    assert (line.ask(), line.heard) == (0, [("a", 0)])
    line.beat(AT)
    line.ask()
    assert (len(line.heard), line.follower.gaps) == (9, 0)


def test_a_device_that_says_it_records_nothing_ends_the_waiting() -> None:
    line = Line(MemoryRecord())
    line.follower.replay = None
    line.hear(*run("a", 0, 8))
    line.beat("")
    assert (line.heard, line.follower.gaps) == ([("a", 0), ("a", 8)], 7)


def test_who_does_not_answer_is_asked_again_then_left_alone_for_a_while() -> None:
    line = Line(MemoryRecord(run("a", *range(9))))
    line.hear(*run("a", 0, 4))
    for attempt in range(ATTEMPTS):
        assert line.follower.request(line.now_ns) is not None
        assert line.follower.stale == (attempt > 0)
        line.wait()
    assert line.follower.request(line.now_ns) is None
    assert line.now_ns == ATTEMPTS * PATIENCE_S * 1e9
    assert (line.follower.gaps, "not answered" in line.follower.last_problem) == (3, True)
    line.take()
    line.hear(*run("a", 6))  # the next jump is not waited for
    assert (line.heard[-1], line.follower.gaps) == (("a", 6), 4)
    line.now_ns += round(PAUSE_S * 1e9)
    line.hear(*run("a", 8))
    line.ask()
    assert (line.heard[-2:], line.follower.gaps) == ([("a", 7), ("a", 8)], 4)


def test_a_late_answer_is_not_taken_twice() -> None:
    line = Line(MemoryRecord(run("a", *range(9))))
    line.hear(*run("a", 0, 8))
    request = line.follower.request(line.now_ns)
    assert request
    line.wait()
    line.ask()
    late = line.desk._judge(b"me", request)
    line.follower.answer(msgspec.json.encode(late), line.now_ns)
    line.take()
    assert [number for _, number in line.heard] == list(range(9))


def test_an_answer_that_is_spoilt_is_asked_for_again() -> None:
    line = Line(MemoryRecord(run("a", *range(6))))
    line.hear(*run("a", 0, 5))
    for rubbish in (b"", b"\xff", b'{"schema":"replayed/2"}', b"[" * 100_000):
        assert line.follower.request(line.now_ns) is not None
        line.follower.answer(rubbish, line.now_ns)
    assert line.follower.unreadable == 4
    assert line.follower.catching_up
    assert line.ask() == 0  # as often as it may be: the rest is lost
    line.take()
    assert (line.heard, line.follower.gaps) == ([("a", 0), ("a", 5)], 4)


def test_a_message_that_stays_spoilt_costs_only_itself() -> None:
    line = Line(MemoryRecord(run("a", *range(6))))
    line.hear(*run("a", 0, 5))
    while (request := line.follower.request(line.now_ns)) is not None:
        page = line.desk._judge(b"me", request)
        spoilt = tuple(
            msgspec.Raw(bytes(each).replace(b'"unsure":7', b'"unsure":8')) if b'"sequence":2,' in bytes(each) else each
            for each in page.messages
        )
        line.follower.answer(msgspec.json.encode(msgspec.structs.replace(page, messages=spoilt)), line.now_ns)
        line.take()
    assert [number for _, number in line.heard] == [0, 1, 3, 4, 5]
    assert line.follower.gaps == 1
    assert "message 2 of bench-3 does not add up" in line.follower.last_problem


def test_a_journal_that_cannot_be_read_is_a_gap_with_its_reason() -> None:
    record = MemoryRecord(run("a", *range(6)))
    record.broken = True
    line = Line(record)
    line.hear(*run("a", 0, 5))
    while line.follower.catching_up:
        line.ask()
        if line.follower.catching_up:
            line.wait()
    line.take()
    assert (line.heard, line.follower.gaps) == ([("a", 0), ("a", 5)], 4)


def test_memory_is_a_page_however_much_was_missed() -> None:
    line = Line(MemoryRecord(run("a", *range(2000))))
    line.hear(*run("a", 0, 1999))
    most = 0
    while (request := line.follower.request(line.now_ns)) is not None:
        answer = msgspec.json.encode(line.desk._judge(b"me", request))
        assert len(answer) < replay.PAGE_BYTES + 1000
        line.follower.answer(answer, line.now_ns)
        most = max(most, len(line.follower.ready))
        line.take()
        line.now_ns += 20_000_000
    assert len(line.heard) == 2000
    assert most * 1000 < replay.PAGE_BYTES


def test_a_heartbeat_that_was_missed_is_no_gap() -> None:
    follower = Follower(["heartbeat/1"])
    for number in (3, 9, 9, 4):
        follower.live(to_wire(heartbeat(number))[1], 0)
    assert [each.sequence for each in follower.ready] == [3, 9]
    assert follower.gaps == 0


def test_a_heartbeat_tells_of_counts_that_never_came() -> None:
    """The last ones of a run have nothing behind them that would show the jump."""
    line = Line(MemoryRecord(run("a", *range(9))))
    line.hear(*run("a", 0))
    for latest in (0, 8, 8):
        line.hear(heartbeat(line.beats + latest, run_id="a", replay=AT, counts_sequence=latest))
        line.ask()
    assert [number for _, number in line.heard] == list(range(9))
    lost = Line(MemoryRecord(), announced="")
    lost.hear(*run("a", 0))
    for beat in (5, 6):
        lost.hear(heartbeat(beat, run_id="a", counts_sequence=8))
    assert lost.follower.gaps == 8


def test_the_message_in_hand_is_kept_when_the_rest_cannot_be_had() -> None:
    line = Line(MemoryRecord())
    line.hear(*run("a", 0, 5))
    line.hear(heartbeat(line.beats, run_id="a", replay=AT, counts_sequence=7))
    line.beats += 1
    line.beat("")
    assert (line.heard, line.follower.gaps) == ([("a", 0), ("a", 5)], 6)


def test_the_message_that_a_heartbeat_told_of_is_kept_when_it_comes() -> None:
    line = Line(MemoryRecord())
    line.hear(*run("a", 0), heartbeat(line.beats, run_id="a", replay=AT, counts_sequence=7), *run("a", 7))
    line.beats += 1
    line.beat("")
    assert (line.heard, line.follower.gaps) == ([("a", 0), ("a", 7)], 6)


FIGURES = ["unsure", "cells_total", "cumulative.neutrophil", "excluded.edge", "frames.captured", "differential.n"]


@pytest.mark.parametrize("place", FIGURES)
def test_a_figure_that_was_changed_on_the_way_is_noticed(place: str) -> None:
    document = json.loads(to_wire(counts_message())[1])
    table, _, name = place.rpartition(".")
    (document[table] if table else document)[name] += 10
    follower = Follower(tuple(TYPES))
    follower.live(json.dumps(document).encode(), 0)
    assert (list(follower.ready), follower.unreadable) == ([], 1)


def test_what_adds_up_is_what_the_device_sends() -> None:
    assert adds_up(counts_message())


@settings(deadline=None)
@given(st.data())
def test_whatever_is_lost_on_the_line_everything_comes_once_and_in_order(data: st.DataObject) -> None:
    """Two runs; the line drops and repeats messages as it likes, but brings the last one of the second run."""
    lengths = data.draw(st.tuples(st.integers(2, 30), st.integers(1, 30)))
    sent = [*run("a", *range(lengths[0])), *run("b", *range(lengths[1]))]
    fates = data.draw(st.lists(st.integers(0, 2), min_size=len(sent), max_size=len(sent)))
    fates[0], fates[-1] = 1, 1
    line = Line(MemoryRecord())
    for message, times in zip(sent, fates, strict=True):
        line.record.add(message)
        line.hear(*[message] * times)
        if data.draw(st.booleans()):
            line.ask(data.draw(st.integers(0, 3)))
    line.ask()
    assert line.heard == [(each.run_id, each.sequence) for each in sent]
    assert line.follower.gaps == 0


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_whatsoever_bring_it_down(rubbish: bytes) -> None:
    line = Line(MemoryRecord(run("a", *range(9))))
    line.hear(*run("a", 0, 4))
    for piece in (rubbish, b'{"schema":"replayed/1","id":1,"messages":[' + rubbish + b"]}"):
        line.follower.request(line.now_ns)
        line.follower.answer(piece, line.now_ns)
        line.follower.live(piece, line.now_ns)
    assert replay.read(rubbish) is None
    line.wait()
    line.ask()
    assert [number for _, number in line.heard] == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_an_answer_to_nobody_is_ignored() -> None:
    follower = Follower(tuple(TYPES))
    follower.answer(msgspec.json.encode(Replayed(id=1)), 0)
    assert not follower.ready
