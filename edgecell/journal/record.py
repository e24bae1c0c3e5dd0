"""The journal as listeners of the bus may ask it for what they missed."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edgecell.errors import JournalError, PublishError
from edgecell.journal.reader import Reader
from edgecell.wire import Message, from_wire


class Record:
    """See `edgecell.protocols.Replayable`. A view of its own of the journal in a folder: it never waits for who writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises JournalError."""
        return cls(Reader.open(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reader.close()

    def messages(self, run_id: str, topic: str, after_sequence: int, limit: int) -> Iterator[Message]:
        """Those of an erased sample are gone: none."""
        for each in self._reader.messages(run_id, topic, after_sequence, limit):
            if each.payload is None:
                continue
            try:
                yield from_wire(each.payload)
            except PublishError as error:
                what = f"message {each.sequence} of run {run_id} cannot be read: {error.what}"
                raise JournalError(what, fix="edgecell journal verify tells whether the file was changed") from None

    def next_run(self, run_id: str) -> str | None:
        """The run that was begun after this one."""
        return self._reader.next_run(run_id)
