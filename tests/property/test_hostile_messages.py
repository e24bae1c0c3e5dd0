"""Whatever comes over the wire: it is a message, which can be shown and sent on, or one error says that it is none."""

import functools
import io
import json
from typing import Any

import pytest
from bus_messages import MAKERS
from hostile import changed, damaged, fuzz, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

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
    tree = data.draw(changed(json.loads(data.draw(st.sampled_from(whole())))))
    try:
        payload = json.dumps(tree).encode()
    except ValueError:  # a number of more digits than Python writes
        payload = b'{"schema":"counts/1","sequence":1' + b"0" * 4400 + b"}"
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
