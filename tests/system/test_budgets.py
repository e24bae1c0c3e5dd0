"""No stage of the frame path has become slower than its budget, and one that has would be found."""

import statistics
import time

import numpy as np
import pytest

from benchmarks import budgets, frames, stages
from edgecell import app, clock, pipeline
from edgecell.errors import SettingsError
from edgecell.gate import EMPTY, GateState, Limits, judge
from edgecell.settings import Settings


def test_every_stage_keeps_its_budget() -> None:
    try:
        allowed = budgets.budgets()
    except SettingsError as error:
        pytest.skip(str(error))
    assert budgets.over(allowed, budgets.images()) == {}


def test_a_stage_that_has_become_slower_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate looks at each frame four times instead of once; what it took before is its budget."""
    monkeypatch.setattr(budgets, "ROUNDS", 4)
    some = budgets.images()
    allowed = budgets.measured(some)
    monkeypatch.setattr(pipeline, "judge", lambda *given: [judge(*given) for _ in range(4)][-1])
    found = budgets.over(allowed, some)
    assert "gate" in found
    assert found["gate"] > 2


def test_the_parts_of_a_frame_add_up_to_it() -> None:
    found = stages.measure(budgets.images(), 2)
    named = {stage.name: stage for stage in found.stages}
    assert set(named) == {
        *stages.INSIDE["detect"],
        *stages.INSIDE["classify"],
        *stages.REST.values(),
        "correct",
        "drift",
        "tally",
    }
    assert found.nucleated == pytest.approx(sum(budgets.NUCLEATED) / len(budgets.NUCLEATED), abs=2)  # some lie at the border
    assert all(stage.ms > 0 for stage in found.stages)
    for stage in found.stages:  # nothing is faster than the machine
        assert stage.over is None or stage.over > 0.9
    assert "| engine |" in stages.as_text(found)


def test_a_frame_without_cells_is_left_early() -> None:
    """In turns with one that has some; the classifier, which it does not need either, is left out."""
    width, height = budgets.SIZE_PX
    noise = np.random.default_rng(0).normal(225, 2, (height, width, 3))
    images = {"": budgets.images()[0], EMPTY: np.clip(noise, 0, 255).astype(np.uint8)}
    spent_ns: dict[str, list[int]] = {reason: [] for reason in images}
    gate = GateState()
    with app.plan(Settings()).recogniser() as parts:
        for index in range(16):
            reason = ("", EMPTY)[index % 2]
            frame = frames.as_frame(images[reason], index)
            start_ns = time.thread_time_ns()
            detected, gate = pipeline.detect(frame, parts.segmenter, Limits(), gate, clock.monotonic_ns)
            spent_ns[reason].append(time.thread_time_ns() - start_ns)
            assert detected.verdict.reason == reason
    assert statistics.median(spent_ns[EMPTY][2:]) < 0.4 * statistics.median(spent_ns[""][2:])
