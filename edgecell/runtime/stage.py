"""A thread of the frame path, with the parts that it alone opens, uses and closes."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgecell.classify import Classifier
from edgecell.gate import Limits
from edgecell.messages import Kind
from edgecell.pipeline import Correct
from edgecell.protocols import Segmenter
from edgecell.runtime.look import Look
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.watchdog import Pulse
from edgecell.wire import Model

LOG = logging.getLogger(__name__)
NAME = "edgecell "
"""How the name of every thread of the frame path begins."""

Tool = TypeVar("Tool")
Opener = Callable[[], AbstractContextManager[Tool]]
"""Opens what a thread works with. It is called, entered and left on that thread: a part never changes threads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detecting:
    """What the detect thread works with. reopen: closes its engine and opens it again; raises what opening it raises. correct:
    None where frames are used as they come. limits: of the gate."""

    segmenter: Segmenter
    models: tuple[Model, ...]
    reopen: Callable[[], None]
    correct: Correct | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifying:
    """What the classify thread works with. reopen: closes its engines and opens them again."""

    classifiers: Mapping[Kind, Classifier]
    models: tuple[Model, ...]
    reopen: Callable[[], None]


class Stage(Generic[Tool]):
    """A thread that opens its tools, works, and closes them. closes: mailboxes to close when the work ends.

    A daemon, for a driver that never comes back from a call must not keep the process from ending. pulse: tells the watchdog
    what it is at.
    """

    def __init__(
        self, name: str, opener: Opener[Tool], work: Callable[[Tool, Pulse], None], closes: tuple[Mailbox[Look], ...]
    ) -> None:
        self._opener, self._work, self._closes = opener, work, closes
        self._entering = threading.Event()
        self._tool: Tool | None = None
        self._thread = threading.Thread(target=self._live, name=f"{NAME}{name}", daemon=True)
        self.pulse = Pulse(name)
        self.error: BaseException | None = None
        self._fault: BaseException | None = None

    def start(self) -> Tool:
        """Returns once the tools are open, to be looked at only. Raises what opening them raised."""
        self._thread.start()
        self._entering.wait()
        if self._tool is None:
            self.check_part()
            raise RuntimeError(f"the thread {self._thread.name!r} opened nothing")
        return self._tool

    def check(self) -> None:
        """Raise what ended the work, if it was an error."""
        if self.error is not None:
            raise self.error

    def check_part(self) -> None:
        """Raise what opening or closing the tools raised."""
        if self._fault is not None:
            raise self._fault

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            LOG.error("the thread %r hangs: left behind after %.2g s", self._thread.name, timeout_s)

    def _live(self) -> None:
        try:
            with self._opener() as self._tool:
                self._entering.set()
                self._do(self._tool)
        except BaseException as error:  # noqa: BLE001 raised again by `check_part`
            self._fault = error
        finally:
            self._entering.set()

    def _do(self, tool: Tool) -> None:
        """The error is there before the end of the mailbox tells of it, and closing the part keeps nobody waiting."""
        try:
            self._work(tool, self.pulse)
        except BaseException as error:
            self.error = error
            raise
        finally:
            for mailbox in self._closes:
                mailbox.close()


def left_behind() -> bool:
    """Whether a stage's thread still lives: in a call that did not come back."""
    return any(thread.name.startswith(NAME) for thread in threading.enumerate())
