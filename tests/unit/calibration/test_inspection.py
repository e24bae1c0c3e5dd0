"""What `inspect` says of a dataset, clean and broken in every way."""

import json
from pathlib import Path

import made_datasets
import numpy as np
import pytest
from click.testing import CliRunner
from made_datasets import drawn_cell
from toy_cells import encoded, write_folder

from calibration.adapter import Fault
from calibration.commands import cli
from calibration.datasets import adapter
from calibration.datasets.pbc import PUBLISHED
from calibration.inspection import Inspection, inspect
from calibration.recipe import FOLDER
from calibration.sample import decode

CELL = encoded(drawn_cell("neutrophil", 0, 120, 0.2))
OTHER = encoded(drawn_cell("basophil", 1, 120, 0.2))
TURNED = encoded(np.rot90(decode(CELL, "cell"))[:, ::-1].copy())


def look(root: Path, name: str = "pbc") -> Inspection:
    return inspect(name, adapter(name), root, partial=True)


def kinds(found: Inspection) -> list[tuple[str, str]]:
    return sorted((each.kind, each.name) for each in found.faults)


def test_a_clean_set_has_no_fault(tmp_path: Path) -> None:
    made_datasets.make_mll(tmp_path, 2)
    found = look(tmp_path, "mll_marrow")
    assert found.faults == ()
    assert found.counts == dict.fromkeys(adapter("mll_marrow").facts.names, 2)
    assert found.sizes == {"250x250": 42}
    assert "no fault" in str(found)
    assert "segmented_neutrophil" in str(found)


def test_every_fault_of_a_broken_set_is_named(tmp_path: Path) -> None:
    files = {
        "neutrophil/SNE_1.jpg": CELL,
        "neutrophil/SNE_2.jpg": CELL,
        "neutrophil/SNE_3.jpg": TURNED,
        "neutrophil/SNE_4.jpg": CELL[:-200],
        "neutrophil/SNE_5.jpg": b"",
        "neutrophil/SNE_6.jpg": b"text",
        "neutrophil/.DS_169665.jpg": b"x",
        "basophil/BA_1.jpg": OTHER,
        "ig/IG_1.jpg": OTHER,
        "blast/BL_1.jpg": OTHER,
        "notes.txt": b"",
    }
    write_folder(files, tmp_path / PUBLISHED)
    found = look(tmp_path)
    assert kinds(found) == [
        ("identical", "neutrophil/SNE_2.jpg"),
        ("identical in two classes", "ig/IG_1.jpg"),
        ("junk", "neutrophil/.DS_169665.jpg"),
        ("junk", "notes.txt"),
        ("near-copy", "neutrophil/SNE_3.jpg"),
        ("unknown class", "blast/BL_1.jpg"),
        ("unreadable", "neutrophil/SNE_4.jpg"),
        ("unreadable", "neutrophil/SNE_5.jpg"),
        ("unreadable", "neutrophil/SNE_6.jpg"),
    ]
    assert all(fault.name in str(found) for fault in found.faults)


def test_labels_out_of_range_are_named(tmp_path: Path) -> None:
    path = made_datasets.make_bloodmnist(tmp_path, 1)
    arrays = dict(np.load(path))
    arrays["train_labels"][3] = 8
    np.savez(path, **arrays)
    assert kinds(look(tmp_path, "bloodmnist")) == [("label out of range", "train/00003")]


def test_counts_are_compared_with_the_published_ones(tmp_path: Path) -> None:
    made_datasets.make_pbc(tmp_path, 1)
    whole = inspect("pbc", adapter("pbc"), tmp_path, partial=False)
    counted = [each for each in whole.faults if each.kind == "count"]
    assert counted[0] == Fault(kind="count", name="basophil", what="1 cells, 1218 published")
    assert len(counted) == 8


def test_copies_are_looked_for_among_fields_where_cells_are_cut_from_them(tmp_path: Path) -> None:
    made_datasets.make_balf(tmp_path, 2)
    top = tmp_path / "balf"
    (top / "Images" / "train" / "5.jpg").write_bytes((top / "Images" / "train" / "1.jpg").read_bytes())
    (top / "Labels" / "train" / "5.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    found = look(tmp_path, "balf")
    assert [kind for kind, _ in kinds(found)] == ["identical", "label out of range"]
    assert found.sizes == {"853x640": 3}


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_the_exit_code_tells(broken: bool, code: int, tmp_path: Path) -> None:
    made_datasets.make_bloodmnist(tmp_path, 1)
    if broken:
        arrays = dict(np.load(tmp_path / "bloodmnist.npz"))
        arrays["val_images"][0] = arrays["train_images"][0]
        np.savez(tmp_path / "bloodmnist.npz", **arrays)
    call = ["inspect", str(FOLDER / "bloodmnist28.toml"), "--data", str(tmp_path), "--partial"]
    assert CliRunner().invoke(cli, call).exit_code == code
    result = CliRunner().invoke(cli, [*call, "--json"])
    assert len(json.loads(result.stdout)["datasets"][0]["faults"]) == broken
    assert CliRunner().invoke(cli, [*call[:3], str(FOLDER)]).exit_code != 0
