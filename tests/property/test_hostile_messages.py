"""Whatever comes over the wire: it is a message, which can be shown and sent on, or one error says that it is none."""

import functools
import io
import json
from typing import Any

import pytest
from bus_messages import MAKERS, counts_message, heartbeat
from hostile import NUMBERS, changed, damaged, fuzz, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edgecell.bus import replay
from edgecell.bus.follow import Follower, Position
from edgecell.cli.watch import line, picture
from edgecell.errors import PublishError
from edgecell.wire import MAX_BYTES, CountsMessage, from_wire, to_wire

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b"9" * 5000,
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"[" * 50_000,
    b"\\u001b[2J",
]


@functools.cache
def whole() -> tuple[bytes, ...]:
    return tuple(to_wire(make())[1] for make in MAKERS)


def encoded(tree: Any) -> bytes:
    try:
        return json.dumps(tree).encode()
    except ValueError:  # a number of more digits than Python writes
        return b'{"schema":"counts/1","sequence":1' + b"0" * 4400 + b"}"


def used(payload: bytes) -> None:
    """What a subscriber and `edgecell watch` do with a payload."""
    message = from_wire(payload)
    again = from_wire(to_wire(message)[1])
    assert to_wire(again) == to_wire(message)
    if isinstance(message, CountsMessage):
        paper = io.StringIO()
        Console(file=paper, width=100, force_terminal=False).print(picture(message))
        for shown in (line(message), *paper.getvalue().split("\n")):
            assert shown.isprintable()


def test_whole_messages_are_used() -> None:
    for payload in whole():
        assert read_or_refused(functools.partial(used, payload)) is None


@given(st.data())
@fuzz
def test_messages_with_odd_values(data: st.DataObject) -> None:
    payload = encoded(data.draw(changed(json.loads(data.draw(st.sampled_from(whole()))))))
    read_or_refused(lambda: used(payload))


@given(st.data())
@fuzz
def test_messages_with_damaged_bytes(data: st.DataObject) -> None:
    payload = data.draw(damaged(data.draw(st.sampled_from(whole())), TOKENS))
    read_or_refused(lambda: used(payload))


@given(st.binary(max_size=300))
@fuzz
def test_any_bytes(payload: bytes) -> None:
    assert isinstance(read_or_refused(lambda: used(payload)), PublishError)


def test_no_text_of_a_message_steers_a_terminal() -> None:
    """Every name and every text of it, one after the other, where the type lets it be any."""
    steer = "\x1b[2J\x9b"
    read = 0
    for payload in whole():
        for text in {each for each in payload.decode().split('"')[1::2] if each}:
            poisoned = payload.decode().replace(f'"{text}"', json.dumps(steer + text)).encode()
            read += read_or_refused(functools.partial(used, poisoned)) is None
    assert read > 20


# Replays, on both sides


REQUEST = {"schema": "replay/1", "id": 7, "topic": "counts/1", "run_id": "run-a", "after": 3}


@given(st.data(), st.booleans())
@fuzz
def test_requests(data: st.DataObject, bytewise: bool) -> None:
    whole_one = json.dumps(REQUEST).encode()
    raw = data.draw(damaged(whole_one, TOKENS)) if bytewise else encoded(data.draw(changed(REQUEST)))
    asked = replay.read(raw)
    assert asked is None or -1 <= asked.after < 2**53


@given(st.data(), st.booleans())
@fuzz
def test_answers(data: st.DataObject, bytewise: bool) -> None:
    """Whatever a device answers, and says of itself: its listener goes on."""
    messages = [json.loads(to_wire(counts_message(sequence))[1]) for sequence in (4, 5)]
    page = {"schema": "replayed/1", "id": 1, "messages": messages, "next_run": "", "error": "", "retry_s": 0.5}
    page |= {"error": "asked too often", "retry_s": data.draw(NUMBERS)} if data.draw(st.booleans()) else {}
    raw = data.draw(damaged(encoded(page), TOKENS)) if bytewise else encoded(data.draw(changed(page)))
    follower = Follower(
        ["counts/1", "heartbeat/1"], Position(device_id="bench-3", run_id="run-a", sequence=3), "tcp://127.0.0.1:1"
    )
    follower.live(to_wire(counts_message(9))[1], 0)
    assert follower.request(0) is not None
    follower.answer(raw, 1)
    follower.live(data.draw(damaged(to_wire(heartbeat(3))[1], TOKENS)), 2)
    for now_ns in range(3, 40):
        follower.request(now_ns * 10**9)
        wait_ms = follower.wait_ms(now_ns * 10**9)
        assert wait_ms is None or 0 <= wait_ms < 3_600_000
    follower.live(to_wire(counts_message(10))[1], 41 * 10**9)


DEEP: dict[str, Any] = {
    "lists": b"[" * (MAX_BYTES - 10),
    "an unknown field of lists": b'{"schema":"counts/1","x":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "an unknown field of objects": b'{"schema":"counts/1","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a long number": b'{"schema":"counts/1","sequence":' + b"9" * 1_000_000 + b"}",
    "a long float": b'{"schema":"counts/1","window_s":0.' + b"9" * 1_000_000 + b"e-999999999}",
    "too long": b'{"schema":"counts/1","device_id":"' + b"x" * MAX_BYTES + b'"}',
    "escapes": b'{"schema":"counts/1","device_id":"' + b"\\u0041" * 170_000 + b'"}',
}


@pytest.mark.parametrize("name", DEEP)
def test_large_and_deep_ones(name: str) -> None:
    assert isinstance(read_or_refused(lambda: used(DEEP[name])), PublishError)
