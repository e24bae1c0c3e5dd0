"""When memory counts as short, from files as the kernel writes them."""

from pathlib import Path

import pytest

from edgecell import clock
from edgecell.runtime.memory import LEAST_FREE_MIB, LOOK_S, Memory


def write(proc: Path, *, held_mib: int = 100, free_mib: int = 4000) -> None:
    (proc / "self").mkdir(exist_ok=True)
    (proc / "self" / "status").write_text(f"Name:\tpython\nVmHWM:\t  999999 kB\nVmRSS:\t  {held_mib * 1024} kB\nThreads:\t4\n")
    (proc / "meminfo").write_text(f"MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: {free_mib * 1024} kB\n")


@pytest.mark.parametrize(
    ("limit_mib", "held_mib", "free_mib", "said"),
    [
        (None, 10**6, 4000, ""),
        (500, 500, 4000, ""),
        (500, 501, 4000, "memory is short: 501 MiB held, more than the 500 of memory_mib"),
        (None, 100, LEAST_FREE_MIB, ""),
        (None, 100, LEAST_FREE_MIB - 1, f"memory is short: {LEAST_FREE_MIB - 1} MiB left on this machine"),
    ],
)
def test_short_is_over_the_limit_or_with_little_left(
    tmp_path: Path, limit_mib: int | None, held_mib: int, free_mib: int, said: str
) -> None:
    write(tmp_path, held_mib=held_mib, free_mib=free_mib)
    memory = Memory(limit_mib, tmp_path)
    assert memory.short == bool(said)
    assert [trouble.text for trouble in memory.troubles.values()] == [said] * bool(said)


def test_it_is_looked_at_twice_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**9]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    write(tmp_path)
    memory = Memory(None, tmp_path)
    assert not memory.short
    write(tmp_path, free_mib=1)
    now[0] += round(LOOK_S * 1e9) - 1
    assert not memory.short
    now[0] += 1
    assert memory.short


def test_where_the_kernel_tells_nothing_memory_is_not_short(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:")
    assert not Memory(100, tmp_path).short


def test_this_machine_tells() -> None:
    assert Memory(1).short  # no Python holds less than 1 MiB
