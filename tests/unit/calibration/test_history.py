"""The history of a training as lines and as curves."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.history import Begun, Epoch, draw, write

BEGUN = Begun(name="toy", steps=20, processes=1, threads=2, precision="float32", batch_norm="of each batch", torch="2.6.0")


def epochs(count: int, loss: float = 1.0) -> list[Epoch]:
    return [
        Epoch(epoch=n, step=10 * n, loss=loss / n, rate=1e-3 / n, validation={"pbc": 1 - 0.3 / n, "mll_marrow": 0.5})
        for n in range(1, count + 1)
    ]


def test_each_epoch_is_a_line(tmp_path: Path) -> None:
    write(tmp_path / "toy.jsonl", BEGUN, epochs(3))
    first, *others = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert first == {
        "name": "toy",
        "steps": 20,
        "processes": 1,
        "threads": 2,
        "precision": "float32",
        "batch_norm": "of each batch",
        "torch": "2.6.0",
    }
    assert [each["loss"] for each in others] == [1.0, 0.5, 1 / 3]
    assert others[2]["validation"] == {"pbc": 0.9, "mll_marrow": 0.5}


def test_curves_are_drawn_as_both_pictures(tmp_path: Path) -> None:
    draw(tmp_path / "toy.curves", "toy, epoch 3", epochs(3))
    picture = cv2.imread(str(tmp_path / "toy.curves.png"))
    assert picture is not None
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50, "lines of several colours on white"
    svg = (tmp_path / "toy.curves.svg").read_text()
    assert svg.count("<path") > 20
    assert not re.search(r"\d{4}-\d\d-\d\dT", svg), "no date: the same curves are the same file"
    draw(tmp_path / "again.curves", "toy, epoch 3", epochs(3))
    assert (tmp_path / "again.curves.svg").read_text() == svg
    draw(tmp_path / "other.curves", "toy, epoch 3", epochs(3, loss=2.0))
    assert (tmp_path / "other.curves.svg").read_text() != svg


@pytest.mark.parametrize("some", [epochs(1), epochs(2, loss=0.0), [Epoch(epoch=1, step=1, loss=-1.0, rate=0, validation={})]])
def test_curves_of_anything_are_drawn(some: list[Epoch], tmp_path: Path) -> None:
    """One epoch, a loss that has no logarithm, nothing watched."""
    draw(tmp_path / "toy.curves", "toy", some)
    assert (tmp_path / "toy.curves.png").stat().st_size > 1000


def test_no_window_system_is_asked_for(tmp_path: Path) -> None:
    draw(tmp_path / "toy.curves", "toy", epochs(2))
    assert "matplotlib.pyplot" not in sys.modules
