"""The rule that says when enough is counted."""

import msgspec
import pytest

from edgecell.bundle import CellClass
from edgecell.errors import SettingsError
from edgecell.intervals import together
from edgecell.settings import StopSettings
from edgecell.stoprule import check, look, verdict

CLASSES = {
    "neutrophil": CellClass(name="neutrophil", abbreviation="NEU", group="leukocyte", in_differential=True),
    "basophil": CellClass(name="basophil", abbreviation="BAS", group="leukocyte", in_differential=True),
    "erythroblast": CellClass(name="erythroblast", abbreviation="ERB", group="erythroid"),
}


def test_cells_of_the_differential_are_counted_and_no_others() -> None:
    rule = StopSettings(cells=200)
    counts = {"neutrophil": 140, "basophil": 7, "erythroblast": 90, "red_blood_cell": 4000}
    stop = look(rule, counts, CLASSES)
    assert (stop.now, stop.progress, stop.reached) == (147, 0.735, False)
    assert verdict(stop) == "NOT ENOUGH was counted: 147 of 200 cells of the differential"
    for neutrophils, reached in ((192, False), (193, True), (260, True)):
        assert look(rule, {**counts, "neutrophil": neutrophils}, CLASSES).reached is reached
    over = look(rule, {"neutrophil": 260}, CLASSES)
    assert (over.progress, verdict(over)) == (1.0, "enough is counted: 260 of 200 cells of the differential")


def test_the_widest_interval_of_the_named_classes_decides() -> None:
    counts = {"neutrophil": 290, "basophil": 10}
    low, high = together(10, 300, 2)
    one = look(StopSettings(width=6.0, classes=("basophil",)), counts, CLASSES)
    assert one.now == pytest.approx(100 * (high - low))
    assert one.now < 6
    assert (one.reached, one.progress) == (True, 1.0)
    narrower = look(StopSettings(width=2.0, classes=("basophil", "neutrophil")), counts, CLASSES)
    assert not narrower.reached
    assert narrower.progress == pytest.approx((2 / narrower.now) ** 2)
    assert str(narrower) == f"95 % interval of basophil, neutrophil {narrower.now:.1f} points wide, 2 wanted"


def test_an_interval_as_wide_as_the_rule_is_not_narrower() -> None:
    low, high = together(10, 300, 2)
    for width, reached in ((100 * (high - low), False), (100 * (high - low) + 1e-9, True)):
        stop = look(StopSettings(width=width, classes=("basophil",)), {"neutrophil": 290, "basophil": 10}, CLASSES)
        assert stop.reached is reached
        assert (stop.progress == 1) is reached


def test_nothing_is_reached_before_the_first_cell() -> None:
    for rule in (StopSettings(cells=1), StopSettings(width=99.9, classes=("neutrophil",))):
        stop = look(rule, {"erythroblast": 3}, CLASSES)
        assert not stop.reached
        assert stop.progress < 0.999


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "either cells = N or width"),
        ({"cells": 3, "width": 4.0, "classes": ["neutrophil"]}, "either cells = N or width"),
        ({"width": 4.0}, "classes go with width"),
        ({"cells": 200, "classes": ["neutrophil"]}, "classes go with width"),
        ({"cells": 0}, ">= 1"),
        ({"width": 0.0, "classes": ["neutrophil"]}, "> 0"),
        ({"width": 100.0, "classes": ["neutrophil"]}, "< 100"),
    ],
)
def test_half_a_rule_and_two_rules_are_refused(table: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(table, StopSettings)


def test_a_rule_about_no_class_of_the_differential_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'erythroblast' is no class of the differential.*neutrophil, basophil"):
        check(StopSettings(width=5.0, classes=("basophil", "erythroblast")), CLASSES)
    with pytest.raises(SettingsError, match="basophil stands twice"):
        check(StopSettings(width=5.0, classes=("basophil", "basophil")), CLASSES)
    with pytest.raises(SettingsError, match="no differential"):
        check(StopSettings(cells=5), {"erythroblast": CLASSES["erythroblast"]})
    check(StopSettings(cells=5), CLASSES)
