"""Whether the clock is set, as the kernel says it."""

import ctypes
from pathlib import Path

import pytest

from edgecell import clock

TIME_OK, TIME_ERROR = 0, 5


class Kernel:
    """A stand-in for the C library, whose adjtimex answers so. asked: what it was given."""

    def __init__(self, answer: int) -> None:
        self.asked = b""
        self._answer = answer

    def adjtimex(self, buffer: "ctypes.Array[ctypes.c_char]") -> int:
        self.asked = buffer.raw
        return self._answer


@pytest.mark.parametrize(("answer", "synced"), [(TIME_OK, True), (1, True), (TIME_ERROR, False), (-1, False)])
def test_the_kernels_answer(answer: int, synced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = Kernel(answer)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: kernel)
    monkeypatch.setattr(clock, "_SYNCED", tmp_path / "synchronized")
    assert clock.synced() is synced
    assert set(kernel.asked) == {0}, "it is asked, and told nothing"
    assert len(kernel.asked) >= 208


def test_the_marker_of_timesyncd_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Kernel(TIME_ERROR))
    monkeypatch.setattr(clock, "_SYNCED", tmp_path)
    assert clock.synced()


def test_a_system_without_adjtimex_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert not clock.kernel_synced()


def test_this_kernel_answers() -> None:
    """The real one, asked in the same way: a state from 0 to 5, and what is made of it."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    assert -1 <= state <= TIME_ERROR
    assert clock.kernel_synced() == (0 <= state < TIME_ERROR)
