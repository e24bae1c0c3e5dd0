"""Recipes: what is committed can be cooked, and what is misspelt is named."""

import hashlib
from pathlib import Path

import pytest

from calibration import datasets, models, recipe, split
from calibration.cells import check_classes
from edgecell.errors import SettingsError

FOLDER = Path(recipe.__file__).parent / "recipes"
COMMITTED = sorted(FOLDER.glob("*.toml"))
WITHOUT_DATA = {"marrow21", "bmc_fgcd40", "balf_cells"}
"""Whoever has the data makes their split: it needs the names."""
PBC8 = FOLDER / "pbc8.toml"
BLOOD = [
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature_granulocyte",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
]


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_committed_recipes_can_be_cooked(path: Path) -> None:
    read, sha256 = recipe.load(path)
    assert read.name == path.stem
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(set(read.class_names)) == len(read.classes)
    assert all(data.dataset in datasets.TABLE for data in read.data)
    assert path.stem in WITHOUT_DATA or all((split.FOLDER / data.split).is_file() for data in read.data)
    assert read.network.part in models.TABLE
    assert len(read.network.widths) == len(read.network.blocks)
    assert all(width % 16 == 0 for width in read.network.widths), "INT8 kernels work on blocks of 16 channels"
    assert read.acceptance.max_size_mb <= 10


def test_pbc8_is_the_eight_classes_and_a_reject_class() -> None:
    read, _ = recipe.load(PBC8)
    assert [entry.name for entry in read.classes if entry.group != "reject"] == BLOOD
    assert [entry.name for entry in read.classes if entry.group == "reject"] == ["not_a_cell"]
    assert {entry.name for entry in read.classes if entry.in_differential} == set(BLOOD) - {"erythroblast", "platelet"}
    assert read.data[0].dataset == "pbc"
    assert read.acceptance.error_of_decided == 0.005


def test_a_bundle_is_scored_on_a_dataset_as_its_recipe_reads_it(tmp_path: Path) -> None:
    marrow = recipe.data_for("pbc8", "mll_marrow")
    assert marrow.classes is not None
    assert marrow.classes["segmented_neutrophil"] == "neutrophil"
    assert recipe.data_for("another", "mll_marrow", PBC8) == marrow
    plain = recipe.data_for("another", "mll_marrow")
    assert (plain.split, plain.classes) == ("mll_marrow.tsv", None)
    with pytest.raises(SettingsError, match=r"pbc8\.toml.* no dataset balf"):
        recipe.data_for("pbc8", "balf", PBC8)


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_tables_of_classes_name_what_there_is(path: Path) -> None:
    read, _ = recipe.load(path)
    for data in read.data:
        check_classes(data, datasets.adapter(data.dataset).facts, read.class_names)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "pbc8"', 'name = "pbc8"\ncolour = "red"', "colour"),
        ("epochs = 70", "epochs = 30\nepoch = 3", r"epoch.*training"),
        ("grey = 0.04", "gray = 0.04", r"gray.*training\.augment"),
        ("epochs = 70", 'epochs = "thirty"', r"training\.epochs"),
        ("epochs = 70", "", r"epochs.*training"),
        ('specimen = "blood"', 'specimen = "tea"', r"tea.*specimen"),
        ('group = "reject"', 'group = "rejects"', r"rejects.*classes"),
        ("epochs = 70", "epochs =", r"[Ii]nvalid"),
        ("[preprocess]", '[[tolerant]]\nclasses = ["blast", "monocyte"]\n[preprocess]', "tolerant names blast"),
        ("[preprocess]", '[[tolerant]]\nclasses = ["monocyte"]\n[preprocess]', r"length >= 2.*tolerant"),
    ],
)
def test_a_fault_is_named_with_file_and_field(old: str, new: str, named: str, tmp_path: Path) -> None:
    text = PBC8.read_text()
    assert text.count(old) == 1
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(SettingsError, match=rf"mine\.toml: .*{named}"):
        recipe.load(tmp_path / "mine.toml")


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml"):
        recipe.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(SettingsError, match=r"bytes\.toml"):
        recipe.load(tmp_path / "bytes.toml")
