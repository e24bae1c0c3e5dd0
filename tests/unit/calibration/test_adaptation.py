"""The curve of what a few labelled cells gain, on the tiny bundle and drawn cells."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_bundle import make_tiny_bundle, tiny_crops
from toy_cells import pbc_files, write_folder, write_split

from calibration import adaptation, split
from calibration.commands.adapt_curve import command as adapt_curve
from calibration.evaluate import run
from edgecell.bundle import Bundle
from edgecell.errors import SettingsError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def coloured(bundle: Bundle, count: int) -> adaptation.Pool:
    """Discs whose class is their colour."""
    crops = tiny_crops(count, seed=6)
    features = run(bundle.path, "u8s8", crops, bundle.manifest.preprocess)["features"].astype(np.float64)
    return adaptation.Pool(features=features, labels=(crops[:, 16, 16, 0] > crops[:, 16, 16, 2]).astype(np.int64))


def test_draws_take_the_classes_in_turn_and_repeat_themselves() -> None:
    labels = np.repeat([0, 1, 4], [50, 50, 3])
    drawn = adaptation.draw(labels, 30, seed=1)
    assert len(set(drawn.tolist())) == 30
    assert np.bincount(labels[drawn]).tolist() == [14, 13, 0, 0, 3]
    assert np.array_equal(drawn, adaptation.draw(labels, 30, seed=1))
    assert not np.array_equal(drawn, adaptation.draw(labels, 30, seed=2))
    with pytest.raises(SettingsError, match="none to test on"):
        adaptation.draw(labels, 103, seed=1)


def test_the_curve_rises_with_the_cells(bundle: Bundle) -> None:
    few, many = adaptation.curve(bundle, coloured(bundle, 160), [10, 80], repeats=3)
    assert (few.cells, few.tested, many.tested) == (10, 150, 80)
    assert many.after[:, 0].mean() > many.before[:, 0].mean() + 0.2
    assert many.after[:, 0].mean() >= few.after[:, 0].mean()
    summary = json.loads(json.dumps(many.summary()))
    assert summary["repeats"] == 3
    assert summary["after"]["accuracy"]["least"] <= summary["after"]["accuracy"]["mean"]
    assert "->" in str(many)


def test_the_command_leaves_the_test_part_alone(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pbc_files(12, ("neutrophil", "lymphocyte"))
    write_folder(files, tmp_path / "pbc")
    write_split(list(files), tmp_path / "pbc.tsv")
    monkeypatch.setattr(split, "FOLDER", tmp_path)
    arguments = ["--bundle", str(bundle.path), "--data", str(tmp_path), "--dataset", "pbc", "--cells", "10", "--repeats", "2"]
    found = json.loads(CliRunner().invoke(adapt_curve, [*arguments, "--json"]).stdout)
    used = sum(part != "test" for part in split.load("pbc.tsv").values())
    assert found["points"][0]["tested"] == used - 10
    assert found["parts"] == ["train", "val"]
    table = CliRunner().invoke(adapt_curve, arguments).stdout
    assert "same patients may be on both sides" in table
    unknown = CliRunner().invoke(adapt_curve, [*arguments, "--classes", "blast"]).exception
    assert isinstance(unknown, SettingsError)
    assert CliRunner().invoke(adapt_curve, [*arguments[:-3], "ten"]).exit_code == 2
