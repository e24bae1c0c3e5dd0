"""The state machine as a value."""

import pytest

from edgecell.condition import NEXT, Condition, Phase, Trouble

LOST = {"camera": Trouble("the camera is gone")}


def reached(phase: Phase) -> Condition:
    ways: dict[Phase, tuple[Phase, ...]] = {
        "starting": (),
        "running": ("running",),
        "draining": ("running", "draining"),
        "stopped": ("running", "stopped"),
        "failed": ("failed",),
    }
    condition = Condition()
    for step in ways[phase]:
        condition = condition.to(step)
    return condition


@pytest.mark.parametrize("phase", NEXT)
@pytest.mark.parametrize("other", NEXT)
def test_only_the_arrows_of_the_picture_can_be_gone(phase: Phase, other: Phase) -> None:
    if other in NEXT[phase]:
        assert reached(phase).to(other).phase == other
    else:
        with pytest.raises(ValueError, match=f"a run that is {phase} cannot become {other}"):
            reached(phase).to(other)


@pytest.mark.parametrize("phase", NEXT)
def test_degraded_is_running_with_a_trouble(phase: Phase) -> None:
    troubled = reached(phase).with_troubles(LOST)
    assert troubled.state == ("degraded" if phase == "running" else phase)
    assert troubled.reason == "the camera is gone"
    assert troubled.with_troubles({}).state == phase


def test_what_is_only_worth_knowing_degrades_nothing() -> None:
    told = {"disk": Trouble("2 GB left", spoils=False, degrades=False)}
    assert (reached("running").with_troubles(told).state, reached("running").with_troubles(told).reason) == (
        "running",
        "2 GB left",
    )


def test_a_failure_stands_before_what_else_is_wrong() -> None:
    assert reached("running").with_troubles(LOST).to("failed", "a bug").reason == "a bug; the camera is gone"
