"""The figures of the watch over the microscope: what counts as a false alarm, and when a change was said."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from calibration import drifting
from calibration.commands import cli
from calibration.drifting import AFTER, BEFORE, CHANGES, rows
from calibration.fields import Field
from edgecell.drift import DIRT, FOCUS, LAMP, WHITE


def test_the_drawn_slide_raises_no_alarm_and_what_is_changed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, small = ["lamp x 0.75", "blue x 0.85", "blur 0.5 um", "spot 3.5 um, 50 %"], ["lamp x 0.92"]
    monkeypatch.setattr(drifting, "PHANTOM", 30)
    monkeypatch.setattr(drifting, "CHANGES", {name: CHANGES[name] for name in (*plain, *small)})
    ended = CliRunner().invoke(cli, ["evaluate-drift", "--runs", "1", "--json"])
    assert ended.exit_code == 0, ended.output
    unchanged, *changed = json.loads(ended.stdout)["rows"]
    assert (unchanged["source"], unchanged["change"], unchanged["alarms"]) == ("phantom", "", {})
    said = {row["change"]: row["said"]["count"] for row in changed}
    assert said == {**dict.fromkeys(plain, 1), **dict.fromkeys(small, 0)}
    assert {topic for topic, _ in CHANGES.values()} == {LAMP, WHITE, FOCUS, DIRT}


def test_a_source_with_few_fields_gives_no_runs() -> None:
    image = np.full((60, 60, 3), 200, np.uint8)
    field = Field(name="a", split="train", image=image, boxes=np.array([[0.0, 0, 9, 9]]), kinds=np.ones(1, np.int64))
    assert list(rows([field] * 29, runs=1)) == []


def test_each_field_comes_once_before_any_comes_again() -> None:
    order = drifting._order(40, np.random.default_rng(0))
    assert len(order) == BEFORE + AFTER
    assert sorted(order[:40]) == sorted(order[40:80]) == list(range(40))


def test_a_row_reads_as_a_line() -> None:
    row = drifting.Row(source="640x480", change="", runs=20, alarms={"dirt": 20})
    assert str(row) == "640x480   unchanged          runs of 20 with a false alarm: {'dirt': 20}"
