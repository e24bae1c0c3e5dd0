"""The quality check: how far counts may be off, the limits' file, and what fails."""

from pathlib import Path

import numpy as np
import pytest

from edgecell.errors import SettingsError
from edgecell.quality import reference
from edgecell.quality.expected import count_limits, mean_limits
from edgecell.quality.measure import Measured, PerField
from edgecell.quality.reference import Reference, rows
from edgecell.wire import Model

MEASURED = Measured(
    fields=40,
    refused={"blurred": 2},
    red_cell_px=71.0,
    background=(220.0, 200.0, 180.0),
    evenness=0.93,
    blur_um=0.2,
    dirt=0.0,
    per_field={"red_blood_cell": PerField(mean=40.0, sd=8.0), "nucleated": PerField(mean=1.5, sd=1.1)},
    classes={"neutrophil": 40, "lymphocyte": 20, "eosinophil": 0},
    unsure=3,
)
MODEL = Model(role="nucleated", name="pbc8", version="1.0.0", sha256="ab" * 32, engine="onnxruntime cpu")


def made() -> Reference:
    return reference.reference_of(MEASURED, 'QC "3"', "2026-01-31T12:00:00.000Z", [MODEL])


def changed(**changes: object) -> Measured:
    told = {name: getattr(MEASURED, name) for name in MEASURED.__struct_fields__}
    return Measured(**{**told, **changes})


def failed(measured: Measured) -> list[str]:
    return [row.name for row in rows(measured, made()) if not row.passed]


def test_the_same_again_passes() -> None:
    assert failed(MEASURED) == []
    assert len(rows(MEASURED, made())) == 8 + 2 + 3


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"refused": {"blurred": 30}}, ["accepted"]),
        ({"red_cell_px": 75.0}, ["red_cell_px"]),
        ({"red_cell_px": None}, ["red_cell_px"]),
        ({"background": (190.0, 172.0, 155.0)}, ["background"]),
        ({"background": (220.0, 200.0, 160.0)}, ["blue"]),
        ({"background": (250.0, 200.0, 180.0)}, ["red"]),
        ({"evenness": 0.8}, ["evenness"]),
        ({"blur_um": 0.35}, ["blur_um"]),
        ({"blur_um": None}, ["blur_um"]),
        ({"dirt": 0.01}, ["dirt"]),
        ({"per_field": {**MEASURED.per_field, "red_blood_cell": PerField(mean=48.0, sd=8.0)}}, ["red_blood_cell a field"]),
        ({"per_field": {"red_blood_cell": PerField(mean=40.0, sd=8.0)}}, ["nucleated a field"]),
        ({"classes": {"neutrophil": 20, "lymphocyte": 40}}, ["neutrophil %", "lymphocyte %"]),
        ({"classes": {"neutrophil": 40, "lymphocyte": 14, "eosinophil": 12}}, ["eosinophil %"]),
        ({"classes": {}}, ["neutrophil %", "lymphocyte %", "eosinophil %"]),
    ],
)
def test_each_line_can_fail(changes: dict[str, object], names: list[str]) -> None:
    assert failed(changed(**changes)) == names


def test_the_file_says_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "made" / "qc.toml"
    reference.save(made(), path)
    assert reference.load(path) == made()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fields = 40", "fields = 4", "fields"),
        ("evenness", "eveness", "did you mean evenness"),
        ("blur_um = [0.0, 0.3]", "blur_um = [0.3, 0.0]", "blur_um needs the lower limit first"),
        ("mean = 40.0\n", "", "per_field.mean is missing"),
        ("mean = 40.0\n", "mean = nan\n", "per_field.mean: expected `float` >= 0.0"),
        ("sd = 8.0\n", "sd = inf\n", "per_field.sd: expected `float` <= "),
        ("sd = 8.0\n", "sd = -8.0\n", "per_field.sd: expected `float` >= 0.0"),
        ("blur_um = [0.0, 0.3]", "blur_um = [0.0, inf]", r"limits\.blur_um\.1: expected `float` <= "),
        ("blur_um = [0.0, 0.3]", "blur_um = [-inf, 0.3]", r"limits\.blur_um\.0: expected `float` >= "),
    ],
)
def test_a_wrong_file_is_refused_by_its_name_and_field(old: str, new: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "qc.toml"
    reference.save(made(), path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError, match=words) as caught:
        reference.load(path)
    assert str(path) in str(caught.value)


def test_limits_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "qc.toml"
    lines = ['slide = "QC"', 'measured = ""', "models = []", "fields = 40", "[limits]", "background = [100, 150]"]
    path.write_text("\n".join(lines), encoding="utf-8")
    [row] = rows(MEASURED, reference.load(path))
    assert (row.name, row.low, row.high, row.passed) == ("background", 100, 150, False)


@pytest.mark.parametrize(("n", "now", "share"), [(60, 60, 0.3), (200, 40, 0.02), (40, 200, 0.5)])
def test_a_count_of_the_same_slide_lies_within_its_limits(n: int, now: int, share: float) -> None:
    draw = np.random.default_rng(7)
    outside = 0
    for _ in range(1000):
        low, high = count_limits(int(draw.binomial(n, share)), n, now, 0.99)
        outside += not low <= draw.binomial(now, share) <= high
    assert outside <= 25  # of 1000, where 10 are expected


def test_limits_of_counts_are_no_wider_than_they_must_be() -> None:
    assert count_limits(30, 100, 100, 0.99) == (15, 48)
    assert count_limits(0, 100, 100, 0.99) == (0, 5)
    low, high = mean_limits(40.0, 8.0, 40, 40, 0.99)
    assert (low, high) == pytest.approx((40 - 4.608, 40 + 4.608), abs=0.01)
    with pytest.raises(ValueError, match="no share"):
        count_limits(5, 4, 10, 0.99)


def test_the_mean_of_the_same_slide_lies_within_its_limits() -> None:
    """Also of a kind of which the reference had none."""
    draw = np.random.default_rng(8)
    for rate in (0.02, 1.5, 40.0):
        outside = 0
        for _ in range(500):
            then, now = draw.poisson(rate, 40), draw.poisson(rate, 40)
            low, high = mean_limits(float(then.mean()), float(then.std(ddof=1)), 40, 40, 0.99)
            outside += not low <= now.mean() <= high
        assert outside <= 15  # of 500, where 5 are expected
