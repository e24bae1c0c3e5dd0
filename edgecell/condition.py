"""The condition of a run, as a value: its phase, and what is wrong at the moment.

    starting --> running <--> degraded      something is wrong and is being retried: the camera is lost, no frame comes, a stage
                    |            |          hangs, an engine was opened again, memory is short, the bus cannot be reached
                    +-----+------+
                          v
                      draining              no further frame is read; those that were are finished, for a bounded time
                          |
                          v
                       stopped

    each of them --> failed                 an error that is neither a frame's nor one that is retried

`degraded` is no phase of its own: it is `running` with a trouble. Nothing leads out of stopped and failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from edgecell.wire import State

Phase = Literal["starting", "running", "draining", "stopped", "failed"]
NEXT: Mapping[Phase, tuple[Phase, ...]] = MappingProxyType(
    {
        "starting": ("running", "failed"),
        "running": ("draining", "stopped", "failed"),
        "draining": ("stopped", "failed"),
        "stopped": (),
        "failed": (),
    }
)
"""Phase -> those that may follow."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, in words that name the part. spoils: counts made meanwhile are not to be relied on.

    degrades: the run is degraded by it; what is only worth knowing is not.
    """

    text: str
    spoils: bool = True
    degrades: bool = True


Troubles = Mapping[str, Trouble]
"""By topic, such as `camera`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """failure: what ended the run, of a failed one."""

    phase: Phase = "starting"
    troubles: Troubles = field(default_factory=dict)
    failure: str = ""

    @property
    def state(self) -> State:
        if self.phase == "running" and any(trouble.degrades for trouble in self.troubles.values()):
            return "degraded"
        return self.phase

    @property
    def reason(self) -> str:
        """All that is wrong, in one line; "" when nothing is."""
        return "; ".join([*filter(None, [self.failure]), *(trouble.text for trouble in self.troubles.values())])

    def to(self, phase: Phase, failure: str = "") -> "Condition":
        """The same in another phase. Raises ValueError where the picture has no arrow."""
        if phase not in NEXT[self.phase]:
            raise ValueError(f"a run that is {self.phase} cannot become {phase}")
        return replace(self, phase=phase, failure=failure)

    def with_troubles(self, troubles: Troubles) -> "Condition":
        return replace(self, troubles=troubles)
