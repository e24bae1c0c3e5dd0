"""How often the intervals hold when a run ends by its stop rule: exact for one class, simulated for all classes together."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_bundle import CLASSES, tiny_manifest

from benchmarks import coverage
from benchmarks.coverage import RARE, enough_at, held, missed, stopped, under_width
from calibration import tested
from calibration.metrics import Share, figures
from edgecell.bundle import Bundle
from edgecell.intervals import CONFIDENCE, together

LEAST = 0.94


def test_the_law_and_the_limits_agree() -> None:
    shares = (0.004, 0.03, 0.4)
    table = held(shares, 7, 120)
    for n in (1, 40, 120):
        for count in range(n + 1):
            low, high = together(count, n, 7)
            assert [low <= p <= high for p in shares] == table[:, n, count].tolist()


def test_the_rule_ends_where_the_interval_gets_narrow() -> None:
    stop = enough_at(10.0, 7)
    for n in (61, 200, 500):
        width = [100 * (high - low) for low, high in (together(int(count), n, 7) for count in (stop[n], stop[n] + 1))]
        assert width[0] < 10 <= width[1]


@pytest.mark.parametrize(("points", "classes"), [(10.0, 2), (10.0, 7), (20.0, 7)])
def test_one_named_class_misses_little_more_often_than_without_a_rule(points: float, classes: int) -> None:
    """Exactly, over all proportions: a miss is at most half as likely again as (1 - CONFIDENCE) / classes."""
    worst = missed(points, classes).max()
    assert 0.5 * (1 - CONFIDENCE) / classes < worst < 1.5 * (1 - CONFIDENCE) / classes
    assert worst < 1 - LEAST


@pytest.mark.parametrize(
    ("shares", "by", "points"),
    [
        (RARE, [4], 10.0),
        (RARE, [6], 10.0),
        (RARE, [0], 10.0),
        (RARE, list(range(7)), 20.0),
        ((0.07, 0.93), [0], 10.0),
        ((0.42, 0.163, 0.417), [0, 1, 2], 10.0),
    ],
)
def test_all_intervals_hold_together_under_the_width_rule(shares: tuple[float, ...], by: list[int], points: float) -> None:
    holds, cells = under_width(shares, by, points, 1200, seed=5)
    assert holds >= LEAST
    assert cells > 50


def test_a_marrow_s_ratios_hold_under_it_too() -> None:
    shares = (0.05, 0.6, 0.25, 0.1)
    ended = list(stopped(shares, [0], 10.0, 600, seed=5))
    assert np.mean([coverage.marrow_holds(counts.tolist(), shares) for counts in ended]) >= LEAST


def test_a_number_of_cells_costs_nothing() -> None:
    """A run ends with the frame that makes it enough: how many cells that frame shows has nothing to do with what they are."""
    rng, contained = np.random.default_rng(11), held(RARE, 7, 230)
    frames = rng.poisson(6, size=(1500, 80)).cumsum(axis=1)
    counted = frames[np.arange(1500), (frames >= 200).argmax(axis=1)]
    assert counted.min() >= 200
    counts = np.array([rng.multinomial(n, RARE) for n in counted])
    holds = contained[np.arange(7)[None], counted[:, None], counts].all(axis=1)
    assert holds.mean() >= CONFIDENCE


def test_the_tables_say_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["coverage", "--runs", "5"])
    for name, value in {
        "CELLS": (100,),
        "RULES": (((4,), 20.0),),
        "ONE_NAMED": ((20.0, 7),),
        "CONFUSED": ((0.7, 0.1, 50),),
    }.items():
        monkeypatch.setattr(coverage, name, value)
    coverage.main()
    said = capsys.readouterr().out
    for words in ("| 100 | ", "the class of 3 % within 20 points", "of 7, within 20 points", "M:E and blasts hold"):
        assert words in said


def test_a_search_names_the_worst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["coverage", "--search", "2", "--runs", "20"])
    monkeypatch.setattr(coverage, "under_width", lambda shares, by, points, runs, seed: (0.9 + 0.01 * seed, 99.0))
    coverage.main()
    said = capsys.readouterr().out
    assert said.startswith("92.0 % hold: ")  # the first of the two, tried again
    assert " points\n" in said


def test_real_cells_are_set_beside_what_they_are() -> None:
    """Of 60 neutrophils and 60 lymphocytes, half of the lymphocytes are not decided: what was measured so says so."""
    decided = np.array([[60, 0, 0, 0], [0, 30, 0, 30], [0, 0, 0, 0]])
    truth, called = np.repeat([0, 1], [60, 60]), np.repeat([0, 1, 1], [60, 30, 30])
    sure = np.repeat([True, True, False], [60, 30, 30])
    found = figures(called, sure, truth, CLASSES)
    assert found.decided_as == tuple(tuple(row) for row in decided.tolist())
    share = Share(count=1, n=1)
    measured = tested.Tested(dataset="toy", part="test", int8=found, fp32=found, agreement=share)
    manifest = msgspec.structs.replace(tiny_manifest(), metrics=measured.confusion())
    bundle = Bundle(path=Path(), manifest=manifest, sha256="")
    told = list(coverage.on_real_cells(bundle, [replace(measured, part="val")]))
    assert told[0] == "tiny, toy, val split: 120 cells of the differential, 90 decided as its classes"
    neutrophil, lymphocyte = told[2:]
    assert neutrophil.startswith("| neutrophil | 50.0 | 66.7 (")
    assert "**outside** | 50.0 (" in neutrophil
    assert "**outside** | 50.0 (" in lymphocyte
    [refused] = coverage.on_real_cells(bundle, [replace(measured, dataset="other")])
    assert refused.startswith("other: not corrected: bundle tiny 1.0.0 does not say")
