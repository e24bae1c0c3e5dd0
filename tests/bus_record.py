"""A record of messages in memory, for the tests of replays."""

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

from edgecell.errors import JournalError
from edgecell.wire import CountsMessage


class MemoryRecord:
    """See `edgecell.protocols.Replayable`. asked: the requests. broken: it cannot be read."""

    def __init__(self, messages: Iterable[CountsMessage] = ()) -> None:
        self.runs: dict[str, dict[int, CountsMessage]] = {}
        self.asked: list[tuple[str, int]] = []
        self.broken = False
        for message in messages:
            self.add(message)

    def add(self, message: CountsMessage) -> None:
        self.runs.setdefault(message.run_id, {})[message.sequence] = message

    def messages(self, run_id: str, topic: str, after_sequence: int, limit: int) -> Sequence[CountsMessage]:
        assert topic == "counts/1"
        self.asked.append((run_id, after_sequence))
        if self.broken:
            raise JournalError("the disk is gone")
        run = self.runs.get(run_id, {})
        return list(islice((run[number] for number in sorted(run) if number > after_sequence), limit))

    def next_run(self, run_id: str) -> str | None:
        runs = list(self.runs)
        return dict(pairwise(runs)).get(run_id)
