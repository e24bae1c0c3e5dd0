"""How often the quality check fails a microscope that is as it was: fields of one source, half of them for the reference."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.fields import Field, frame_of
from calibration.metrics import Share
from edgecell.app import Recogniser
from edgecell.quality.measure import Measured, measure
from edgecell.quality.reference import reference_of, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Checks of one source. failed: of all of them. lines: which lines failed, how often."""

    source: str
    failed: Share
    lines: Mapping[str, int]

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {"source": self.source, "failed": self.failed.summary(), "lines": dict(self.lines)}

    def __str__(self) -> str:
        return f"{self.source:<9} failed {self.failed} {dict(self.lines) or ''}".rstrip()


def checks(fields: Sequence[Field], recogniser: Recogniser, times: int, wanted: int) -> Iterator[Checks]:
    """For each source with twice `wanted` fields and more: it is split at random, `times` over; one half gives the reference,
    the other one is checked, `wanted` fields of each."""
    for source in sorted({field.source for field in fields}):
        own = [field for field in fields if field.source == source]
        if len(own) < 2 * wanted:
            continue
        lines = Counter[str]()
        failed = 0
        for seed in range(times):
            order, half = np.random.default_rng(seed).permutation(len(own)), len(own) // 2
            then, now = (_shown([own[at] for at in part], recogniser, wanted) for part in (order[:half], order[half:]))
            wrong = [row.name for row in rows(now, reference_of(then, source, "", recogniser.models)) if not row.passed]
            lines.update(wrong)
            failed += bool(wrong)
        yield Checks(source=source, failed=Share(count=failed, n=times), lines=lines)


def _shown(fields: Sequence[Field], recogniser: Recogniser, wanted: int) -> Measured:
    return measure((frame_of(field, at) for at, field in enumerate(fields)), recogniser, wanted, lambda _: None)
