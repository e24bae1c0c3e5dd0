"""What happened since the last counts message."""

from dataclasses import dataclass, field

import numpy as np

from edgecell import clock
from edgecell.condition import Troubles
from edgecell.journal.events import FrameFate, RecordedCell
from edgecell.messages import Tally
from edgecell.wire import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time since the last counts message. latencies_ms grows by one float a frame and starts anew with each window, as do
    frames and cells, where they are wanted.

    lost: frames that were registered to none before them.
    wrong: by topic, the latest words for what spoilt its counts. remarks: for what did not.
    """

    start_ns: int
    start_utc: str
    before: Tally
    latencies_ms: list[float] = field(default_factory=list)
    frames: list[FrameFate] = field(default_factory=list)
    cells: list[RecordedCell] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, before: Tally) -> "Window":
        return cls(start_ns=clock.monotonic_ns(), start_utc=clock.utc_now(), before=before)

    def note(self, troubles: Troubles) -> None:
        for topic, trouble in troubles.items():
            (self.wrong if trouble.spoils else self.remarks)[topic] = trouble.text

    def latency(self) -> Latency | None:
        if not self.latencies_ms:
            return None
        p50, p95, p99 = (float(value) for value in np.percentile(self.latencies_ms, [50, 95, 99]))
        return Latency(p50=p50, p95=p95, p99=p99)
