"""No stage of the frame path has become slower than its budget, and one that has would be found."""

import pytest

from benchmarks import budgets, stages
from edgecell import pipeline
from edgecell.errors import SettingsError
from edgecell.gate import judge


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
