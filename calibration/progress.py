"""How far a long piece of work is and how long it will still take: a bar on a terminal, else a log line now and then."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LOG = logging.getLogger("edgecell.calibration")
QUIET_S = 30.0
"""At most this long between two lines where nobody sees a bar."""


class Meter:
    """Counts steps of `total`, of which `done` were there before. `bar` is None where stderr is no terminal."""

    def __init__(self, title: str, total: int, done: int, bar: Progress | None, quiet_s: float) -> None:
        self.title, self.total, self.done, self.begun_at = title, total, done, done
        self.began_s = self.said_s = time.monotonic()
        self.quiet_s = quiet_s
        self.bar = bar
        self.task: TaskID | None = None if bar is None else bar.add_task(title, total=total, completed=done, left="")

    def step(self, note: str = "") -> None:
        """One more is done. note: what to say beside it, such as the loss."""
        self.done += 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=1, left=f"{self.left} to go  {note}")
        elif time.monotonic() - self.said_s >= self.quiet_s:
            self.say(note)

    def say(self, note: str) -> None:
        """A log line, with the time to go."""
        self.said_s = time.monotonic()
        LOG.info("%s: %d of %d, %s to go  %s", self.title, self.done, self.total, self.left, note)

    @property
    def left(self) -> str:
        """Time to go at the mean speed since the start; "?" before the first step."""
        did = self.done - self.begun_at
        return duration((time.monotonic() - self.began_s) / did * (self.total - self.done)) if did else "?"


def duration(seconds: float) -> str:
    """`12 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def meter(title: str, total: int, done: int = 0, *, quiet_s: float = QUIET_S, bar: bool = True) -> Iterator[Meter]:
    """A meter on stderr for as long as the work takes. bar: where it is a terminal."""
    console = Console(stderr=True)
    if not (bar and console.is_terminal):
        yield Meter(title, total, done, None, quiet_s)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=console) as shown:
        yield Meter(title, total, done, shown, quiet_s)
