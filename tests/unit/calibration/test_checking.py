"""How often the quality check fails: who is checked against whom, and which lines are told."""

from types import SimpleNamespace

import numpy as np
import pytest

from calibration import checking
from calibration.checking import checks
from calibration.fields import Field
from edgecell.quality.measure import Measured, PerField


def field(number: int, side: int) -> Field:
    image = np.full((side, side, 3), number, np.uint8)
    return Field(name=str(number), split="train", image=image, boxes=np.zeros((0, 4)), kinds=np.zeros(0, np.int64))


def test_each_half_is_looked_at_once_and_lines_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def shown(frames: object, _recogniser: object, wanted: int, _told: object) -> Measured:
        seen.append({int(frame.image[0, 0, 0]) for frame in frames})  # type: ignore[attr-defined]
        dim = 150.0 if len(seen) % 4 == 2 else 200.0  # every other check
        return Measured(
            fields=wanted,
            refused={},
            red_cell_px=70.0,
            background=(dim, dim, dim),
            evenness=0.9,
            blur_um=0.2,
            dirt=0.0,
            per_field={"red_blood_cell": PerField(mean=40.0, sd=5.0)},
            classes={},
            unsure=0,
        )

    monkeypatch.setattr(checking, "measure", shown)
    fields = [*(field(number, 20) for number in range(24)), *(field(number, 30) for number in range(19))]
    [one] = checks(fields, SimpleNamespace(models=()), times=4, wanted=10)  # type: ignore[arg-type]
    assert (one.source, one.failed.count, one.failed.n, one.lines) == ("20x20", 2, 4, {"background": 2})
    assert all(then | now == set(range(24)) and not then & now for then, now in zip(seen[::2], seen[1::2], strict=True))
    assert str(one).startswith("20x20     failed 50.00 % (2/4")
