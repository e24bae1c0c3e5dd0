"""The method for ranges is chosen by what it does to cells that set no range."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_bundle import tiny_model
from tiny_segmenter import tiny_segmenter

from calibration.quantize import load
from calibration.range_trials import agreement, answers, choose, error
from calibration.ranges import collect

METHODS = ("min-max", "entropy", "percentile 99.9", "percentile 60")


def cells(seed: int, *, outlier: float = 0.0, count: int = 3) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        batch = rng.standard_normal((8, 3, 32, 32)).astype(np.float32)
        batch[0, :, 10:12, 10:12] += outlier
        yield batch


@pytest.fixture(scope="module")
def float_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trials") / "float.onnx"
    onnx.save(tiny_model(), path)
    return path


def test_one_bright_artefact_speaks_against_minimum_and_maximum(float_onnx: Path) -> None:
    model = load(float_onnx)
    method, trials = choose(model, float_onnx, collect(model, cells(1, outlier=400)), METHODS, list(cells(2)))
    errors = {trial.method: trial.error for trial in trials}
    assert method in {"entropy", "percentile 99.9"}
    for encoding in ("u8s8", "s8s8"):
        assert errors[method][encoding] < 0.5 * errors["min-max"][encoding]
        assert errors[method][encoding] < 0.5 * errors["percentile 60"][encoding]


def test_clean_cells_need_no_cut_so_far_inside(float_onnx: Path) -> None:
    model = load(float_onnx)
    method, trials = choose(model, float_onnx, collect(model, cells(1)), ("percentile 60", "min-max"), list(cells(2)))
    assert method == "min-max"
    assert [trial.method for trial in trials] == ["percentile 60", "min-max"]
    assert all(isinstance(share, float) and 0.8 < share <= 1 for share in trials[1].agreement.values())


def test_error_and_agreement_of_known_answers() -> None:
    expected = [{"logits": np.array([[0, 1], [2, 0]], np.float32)}, {"logits": np.array([[3, 1]], np.float32)}]
    other = [{"logits": np.array([[0, 1], [2, 0]], np.float32)}, {"logits": np.array([[1, 3]], np.float32)}]
    assert error(expected, expected) == 0
    assert agreement(other, expected) == pytest.approx(2 / 3)
    spread = np.std([0, 1, 2, 0, 3, 1])
    assert error(other, expected) == pytest.approx(np.sqrt(8 / 6) / spread)


def test_one_channel_has_no_best_class() -> None:
    alone = [{"mask": np.ones((2, 1, 4, 4), np.float32)}]
    assert agreement(alone, alone) is None


def test_a_segmenter_is_compared_by_pixels(tmp_path: Path) -> None:
    onnx.save(tiny_segmenter(), tmp_path / "float.onnx")
    model = load(tmp_path / "float.onnx")
    fields = [np.random.default_rng(at).standard_normal((1, 3, 32, 16 * (at + 1))).astype(np.float32) for at in range(4)]
    method, trials = choose(model, tmp_path / "float.onnx", collect(model, fields[:2]), ("min-max", "entropy"), fields[2:])
    assert method in {"min-max", "entropy"}
    assert all(share is not None and share > 0.9 for trial in trials for share in trial.agreement.values())
    assert [each["centres"].shape for each in answers(tmp_path / "float.onnx", fields[2:])] == [(1, 4, 16, 24), (1, 4, 16, 32)]
