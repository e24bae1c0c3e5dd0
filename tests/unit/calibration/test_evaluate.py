"""Scoring a bundle on labelled cells, from Python and from the command line."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_bundle import make_tiny_bundle, tiny_crops
from toy_cells import pbc_files, write_folder, write_split

import calibration
from calibration.card import SPLIT_NOTE
from calibration.commands import cli
from calibration.evaluate import BATCH, agreement, run, score
from calibration.robustness import CHANGES
from edgecell.bundle import LOGITS, Bundle, Confidence, Encoding, sha256_of
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("evaluate") / "tiny")


@pytest.mark.parametrize("encoding", ["float", "u8s8", "s8s8"])
def test_batches_are_joined_in_order(tiny: Bundle, encoding: Encoding) -> None:
    crops = tiny_crops(BATCH + 5)
    whole = run(tiny.path, encoding, crops, tiny.manifest.preprocess)
    last = run(tiny.path, encoding, crops[BATCH:], tiny.manifest.preprocess)
    assert whole[LOGITS].shape == (BATCH + 5, 3)
    assert set(whole) == {"logits", "features"}
    assert whole[LOGITS][BATCH:] == pytest.approx(last[LOGITS], abs=1e-4)


def test_encodings_agree_on_most_cells(tiny: Bundle) -> None:
    answers = {name: run(tiny.path, name, tiny_crops(64), tiny.manifest.preprocess) for name in ("float", "s8s8", "u8s8")}
    assert agreement(answers["float"], answers["float"]) == 1.0
    assert agreement(answers["u8s8"], answers["s8s8"]) > 0.9


def test_agreement_is_on_the_best_class() -> None:
    one = {LOGITS: np.array([[1, 2], [3, 1], [0, 1], [5, 4]], np.float32)}
    other = {LOGITS: np.array([[0, 9], [1, 0], [1, 0], [2, 1]], np.float32)}
    assert agreement(one, other) == 0.75


def test_only_cells_with_a_known_label_are_scored() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01]], np.float32))
    found = score(logits, np.array([0, 1, -1, 0]), Confidence(temperature=1.0, unsure_below=0.7), ("a", "b"))
    assert (found.accuracy.count, found.accuracy.n) == (2, 3)
    assert (found.decided.count, found.wrong.count) == (2, 0)
    hotter = score(logits, np.array([0, 1, -1, 0]), Confidence(temperature=4.0, unsure_below=0.7), ("a", "b"))
    assert hotter.decided.count == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate-data")
    files = pbc_files(6)
    write_folder(files, folder / "pbc")
    write_split(list(files), folder / "toy.tsv")
    return folder


def arguments(tiny: Bundle, data: Path, *more: str) -> list[str]:
    where = ["--data", str(data), "--dataset", "pbc", "--split", str(data / "toy.tsv")]
    return ["evaluate", "--bundle", str(tiny.path), *where, *more]


def test_the_command_prints_figures_and_how_the_cells_were_split(tiny: Bundle, data: Path) -> None:
    result = CliRunner().invoke(cli, arguments(tiny, data))
    assert result.exit_code == 0, result.output
    for words in (SPLIT_NOTE, NOTICE, "artefact", "insufficient", "INT8 (u8s8)", "FP32", "exact McNemar", "held back"):
        assert words in result.output


def test_the_command_speaks_json(tiny: Bundle, data: Path) -> None:
    result = CliRunner().invoke(cli, arguments(tiny, data, "--json", "--part", "train", "--encoding", "float"))
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert (found["part"], set(found["results"])) == ("train", {"float"})
    assert found["bundle"] == {"name": "tiny", "version": "1.0.0", "sha256": tiny.sha256}
    assert found["split"] == {"file": "toy.tsv", "sha256": sha256_of(data / "toy.tsv")}
    assert found["results"]["float"]["accuracy"]["n"] == 8, "4 neutrophils and 4 lymphocytes: the bundle knows no platelets"
    assert found["unknown_classes"] == {"platelet": 4}
    assert (found["int8_less_fp32"], found["robustness"], found["notice"]) == (None, [], NOTICE)


def test_somebody_elses_cells_are_scored_whole_and_mapped(tiny: Bundle, data: Path, tmp_path: Path) -> None:
    more = ["--part", "all", "--map", "platelet=artefact,lymphocyte=", "--json", "--report", str(tmp_path)]
    result = CliRunner().invoke(cli, [*arguments(tiny, data, *more)])
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert (found["scored"], found["unknown_classes"]) == (12, {"lymphocyte": 6})
    assert found["map"] == {"neutrophil": "neutrophil", "platelet": "artefact"}
    assert set(found["results"]) == {"u8s8", "float"}
    assert found["int8_less_fp32"]["n"] == 12
    assert found["results"]["u8s8"]["on_device"]["slides"]["pbc/"]["state"] == "known", "too few cells to tell"
    assert result.stderr.strip() == str(tmp_path / "tiny-1.0.0-pbc-all.html")
    assert (tmp_path / "tiny-1.0.0-pbc-all.html").is_file()


def test_robustness_is_a_table_and_an_entry(tiny: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.robustness.table.__defaults__", (CHANGES[:2],))
    text, machine = (
        CliRunner().invoke(cli, arguments(tiny, data, "--part", "val", "--robustness", *more)) for more in ([], ["--json"])
    )
    assert text.exit_code == machine.exit_code == 0, text.output
    assert "brightness, factor 0.6" in text.output
    kinds = [row["kind"] for row in msgspec.json.decode(machine.stdout)["robustness"]]
    assert kinds == ["as it is", "brightness"]


def test_a_report_in_the_project_is_refused_before_anything_is_scored(tiny: Bundle, data: Path) -> None:
    result = CliRunner().invoke(cli, arguments(tiny, data, "--report", str(Path(calibration.__file__).parent / "x")))
    assert isinstance(result.exception, SettingsError)
    assert "give a folder outside it" in str(result.exception)


def test_a_bundle_without_a_known_dataset_asks_for_one(tiny: Bundle, data: Path) -> None:
    result = CliRunner().invoke(cli, ["evaluate", "--bundle", str(tiny.path), "--data", str(data)])
    assert isinstance(result.exception, SettingsError)
    assert "--dataset with one of: " in str(result.exception)
    wrong = CliRunner().invoke(cli, arguments(tiny, data, "--map", "platelet"))
    assert wrong.exit_code == 2
    assert "own=bundle" in wrong.output


def test_the_split_command_writes_a_file_that_loads(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calibration import split

    monkeypatch.setattr(split, "FOLDER", tmp_path)
    result = CliRunner().invoke(cli, ["split", "pbc", "--data", str(data), "--seed", "4"])
    assert result.exit_code == 0, result.output
    assert len(split.load("pbc.tsv")) == 18
