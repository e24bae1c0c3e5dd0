"""Which cells a bundle is scored on, and what is said of the others."""

from pathlib import Path

import msgspec
import pytest
from tiny_bundle import make_tiny_bundle, tiny_manifest
from toy_cells import pbc_files, write_folder, write_split

from calibration import labelled, recipe
from calibration.labelled import Question, how_read
from calibration.recipe import Data
from edgecell.bundle import Bundle, Dataset
from edgecell.errors import SettingsError

SPEC = tiny_manifest().preprocess


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    write_folder(pbc_files(6), folder / "pbc")
    write_split(list(pbc_files(6)), folder / "toy.tsv")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def told(bundle: Bundle, **classes: str) -> Bundle:
    """The bundle with a table of classes of PBC in its manifest."""
    origin = bundle.manifest.provenance
    datasets = (Dataset(name="pbc", licence="none", classes=classes),)
    manifest = msgspec.structs.replace(bundle.manifest, provenance=msgspec.structs.replace(origin, datasets=datasets))
    return Bundle(path=bundle.path, manifest=manifest, sha256=bundle.sha256)


def test_all_needs_no_split_and_counts_what_the_bundle_does_not_know(root: Path, tiny: Bundle) -> None:
    question = Question(root=root, data=Data(dataset="pbc", split="none.tsv"), part="all", classes=tiny.class_names)
    found = labelled.read(question, SPEC)
    assert found.unknown == {"platelet": 6}
    assert len(found.cells.names) == 12
    assert (found.parts, question.split_file) == ({}, None)
    assert found.cells.crops.shape == (12, SPEC.size_px, SPEC.size_px, 3)
    assert "passed over      6 of classes that the bundle has not: platelet 6" in str(found)


def test_all_says_what_a_split_would_have_kept_apart(root: Path, tiny: Bundle) -> None:
    data = Data(dataset="pbc", split=str(root / "toy.tsv"))
    whole, part = (
        labelled.read(Question(root=root, data=data, part=scope, classes=tiny.class_names), SPEC) for scope in ("all", "val")
    )
    assert whole.parts == {"train": 8, "val": 2, "test": 2}
    assert "of the parts     test 2, train 8, val 2" in str(whole)
    assert part.parts == {"val": 2}
    assert set(part.cells.names) < set(whole.cells.names)
    assert part.names_sha256 != whole.names_sha256


def test_a_part_of_a_split_needs_the_split(root: Path, tiny: Bundle) -> None:
    question = Question(root=root, data=Data(dataset="pbc", split="none.tsv"), part="val", classes=tiny.class_names)
    with pytest.raises(SettingsError, match=r"no split file .*none\.tsv, so there is no part val.*--part all"):
        labelled.read(question, SPEC)


def test_classes_go_by_the_manifest_then_by_the_recipe_then_by_their_names(tiny: Bundle) -> None:
    assert how_read(tiny, "pbc", None, {}, None).classes is None
    assert how_read(told(tiny, monocyte="lymphocyte"), "pbc", None, {}, None).classes == {"monocyte": "lymphocyte"}
    named = Bundle(path=tiny.path, manifest=msgspec.structs.replace(tiny.manifest, name="pbc8"), sha256=tiny.sha256)
    committed = recipe.data_for("pbc8", "mll_marrow").classes
    assert committed is not None
    assert how_read(named, "mll_marrow", None, {}, None).classes == committed
    file = recipe.FOLDER / "pbc8.toml"
    assert how_read(told(tiny, monocyte="lymphocyte"), "pbc", file, {}, None).classes is None, (
        "a recipe that is named is obeyed"
    )


def test_a_map_adds_to_what_is_known_and_takes_from_it(root: Path, tiny: Bundle) -> None:
    how = how_read(tiny, "pbc", None, {"platelet": "artefact", "lymphocyte": ""}, 0.2)
    assert how.classes == {"neutrophil": "neutrophil", "platelet": "artefact"}
    assert how.pixel_um == 0.2
    question = Question(root=root, data=how, part="all", classes=tiny.class_names)
    found = labelled.read(question, SPEC)
    assert found.unknown == {"lymphocyte": 6}
    assert sorted(found.cells.truth.tolist()) == [0] * 6 + [2] * 6


def test_a_map_of_what_there_is_not_is_named(root: Path, tiny: Bundle) -> None:
    with pytest.raises(SettingsError, match="--map: pbc has no class blast"):
        how_read(tiny, "pbc", None, {"blast": "lymphocyte"}, None)
    how = how_read(tiny, "pbc", None, {"platelet": "thrombocyte"}, None)
    with pytest.raises(SettingsError, match="no class thrombocyte"):
        labelled.read(Question(root=root, data=how, part="all", classes=tiny.class_names), SPEC)


def test_what_lies_in_no_class_is_counted_and_shown(tiny: Bundle, tmp_path: Path) -> None:
    write_folder(pbc_files(2), tmp_path / "pbc")
    write_folder({f"mystery/M_{number}.jpg": b"" for number in range(3)}, tmp_path / "pbc")
    question = Question(root=tmp_path, data=Data(dataset="pbc", split="none.tsv"), part="all", classes=tiny.class_names)
    found = labelled.read(question, SPEC)
    assert found.faults == {"unknown class": 3}
    assert "unknown class 3; see" in str(found)


def test_no_known_cell_at_all_is_an_error_that_says_what_there_is(root: Path, tiny: Bundle) -> None:
    question = Question(root=root, data=Data(dataset="pbc", split="none.tsv"), part="all", classes=("basophil",))
    with pytest.raises(SettingsError, match="lymphocyte 6, neutrophil 6, platelet 6"):
        labelled.read(question, SPEC)
