"""Damaged and hostile input, drawn by Hypothesis, and what a reader may do with it: read it, or say in one line why not.

EDGECELL_FUZZ_EXAMPLES: inputs a test draws; by default a few, always the same. With it they are new in every run.
"""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edgecell.errors import EdgecellError

Result = TypeVar("Result")

ROOM_BYTES = 256 << 20
"""What a reader may take on top of what the process has. The largest file that is read by the tests has some 100 kB."""
LONGEST_TEXT = 2000
"""Characters of an error: it says what is wrong, and does not hand the input on to the log."""

_ASKED = os.environ.get("EDGECELL_FUZZ_EXAMPLES")
fuzz = settings(
    max_examples=int(_ASKED or 120),
    derandomize=_ASKED is None,
    database=None,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""One input that takes longer than the deadline is a reader that hangs."""


def read_or_refused(read: Callable[[], Result]) -> Result | EdgecellError:
    """What `read` returns, or the error that it may raise. Any other error, or a hunger for memory, goes through."""
    try:
        with _little_memory():
            return read()
    except EdgecellError as error:
        refused = error
    assert refused.what
    assert len(str(refused)) <= LONGEST_TEXT
    return refused


@contextmanager
def _little_memory() -> Iterator[None]:
    """More than ROOM_BYTES more is a MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ROOM_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def nested(depth: int, inner: object = 0) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


TEXTS = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "\0",
                "a\nb",
                "\x1b[2J",
                ".",
                "..",
                "../..",
                "/",
                "/dev/null",
                "/proc/self/mem",
                "~",
                "~nobody-of-this-name/x",
            ),
            *("./\0", "auto", "None", "nan", "tcp://", "tcp://127.0.0.1:0", "ipc://", "ipc://\0", "\U0001f52c", "\u202e"),
            *("x" * 300, "./" + "x" * 5000, "1e999", "-1", "0x10", "{}"),
        ]
    ),
    st.text(max_size=12),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**4400]),
    st.sampled_from([0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]),
    st.integers(-5, 5),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXTS,
    st.sampled_from([[], {}, [[]], {"": 0}, {"a": {"a": {"a": {}}}}, nested(60)]),
    st.lists(NUMBERS, max_size=4),
    st.dictionaries(TEXTS, NUMBERS, max_size=3),
)
"""What stands in no file by itself: nothing, numbers out of every range, text that is no name and no path, deep lists."""


@st.composite
def changed(draw: st.DrawFn, tree: Any, most: int = 3) -> Any:
    """A tree of dicts, lists and scalars with one to `most` places replaced, removed, doubled or renamed."""
    for _ in range(draw(st.integers(1, most))):
        tree = _changed_at(draw, tree, draw(st.sampled_from(_places(tree))))
    return tree


def _places(tree: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [here, *(place for key, value in inner for place in _places(value, (*here, key)))]


def _changed_at(draw: st.DrawFn, tree: Any, place: tuple[Any, ...]) -> Any:
    if not place:
        if isinstance(tree, dict) and draw(st.booleans()):
            return {**tree, draw(TEXTS): draw(ODD)}
        return draw(ODD)
    key, *rest = place
    if rest:
        inner = _changed_at(draw, tree[key], tuple(rest))
        return {**tree, key: inner} if isinstance(tree, dict) else [*tree[:key], inner, *tree[key + 1 :]]
    how = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
    value = draw(ODD) if how == "replace" else tree[key]
    if isinstance(tree, list):
        return [*tree[:key], *([] if how == "remove" else [value] * (1 + (how == "double"))), *tree[key + 1 :]]
    others = {name: each for name, each in tree.items() if name != key}
    return others if how == "remove" else {**others, key: value, **({draw(TEXTS): value} if how == "double" else {})}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, tokens: Sequence[bytes] = (b"\0", b"\xff" * 4)) -> bytes:
    """Bytes with one to four faults: flipped, cut off, left out, repeated, moved, or with one of `tokens` in them."""
    raw = whole
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, max(0, len(raw) - 1))), draw(st.integers(1, 64))
        head, piece, tail = raw[:at], raw[at : at + length], raw[at + length :]
        how = draw(st.sampled_from(["flip", "flip", "cut", "leave out", "repeat", "overwrite", "insert", "swap"]))
        if how == "flip":
            raw = head + bytes(each ^ (1 << draw(st.integers(0, 7))) for each in piece[:1]) + raw[at + 1 :]
        elif how == "cut":
            raw = head
        elif how == "leave out":
            raw = head + tail
        elif how == "repeat":
            raw = head + piece * draw(st.integers(2, 50)) + tail
        elif how == "overwrite":
            token = draw(st.sampled_from(tokens))
            raw = head + token + raw[at + len(token) :]
        elif how == "insert":
            raw = head + draw(st.sampled_from(tokens)) + raw[at:]
        else:
            raw = head + tail[:length] + piece + tail[length:]
    return raw
