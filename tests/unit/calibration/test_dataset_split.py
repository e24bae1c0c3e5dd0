"""Which cell trains and which is scored: drawn once, by image, and kept in files."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import split
from calibration.fingerprint import pixels_sha256
from calibration.sample import Sample
from edgecell.errors import SettingsError

COMMITTED = sorted(path.name for path in split.FOLDER.glob("*.tsv"))


def sample(name: str, image: int, label: str = "monocyte") -> Sample:
    """Equal numbers are equal images."""
    pixels = np.random.default_rng(image).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Sample(name=name, labels=(label,), content=pixels, pixel_um=0.1)


def test_the_same_seed_gives_the_same_parts() -> None:
    samples = [sample(f"{number}", number) for number in range(60)]
    assert split.make(samples, 3) == split.make(samples, 3)
    assert split.make(samples, 3) != split.make(samples, 4)


@pytest.mark.parametrize("count", [10, 100, 333])
def test_every_class_is_shared_out_alike(count: int) -> None:
    labels = ("monocyte", "platelet")
    cells = [sample(f"{label}/{n}", 1000 * kind + n, label) for kind, label in enumerate(labels) for n in range(count)]
    parts = split.make(cells, 1)
    for label in labels:
        found = Counter(part for name, part in parts.items() if name.startswith(label))
        assert sum(found.values()) == count
        for part, share in split.SHARES.items():
            assert abs(found[part] - share * count) <= 1


def test_identical_images_are_on_the_same_side() -> None:
    samples = [sample(f"{copy}/{number}", number) for copy in range(3) for number in range(40)]
    parts = split.make(samples, 5)
    assert len(parts) == 120
    assert all(len({parts[f"{copy}/{number}"] for copy in range(3)}) == 1 for number in range(40))
    assert set(parts.values()) == set(split.SHARES)


def test_an_image_of_two_classes_is_on_no_side() -> None:
    samples = [sample(f"{number}", number) for number in range(20)]
    parts = split.make([*samples, sample("eosinophil", 7, "eosinophil"), sample("twin", 8)], 1)
    assert "7" not in parts
    assert "eosinophil" not in parts
    assert parts["8"] == parts["twin"]
    assert len(parts) == 20


def test_what_is_saved_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "FOLDER", tmp_path)
    parts = split.make([sample(f"a b/{number}.jpg", number) for number in range(30)], 2)
    split.save(parts, tmp_path / "toy.tsv")
    assert split.load("toy.tsv") == parts
    lines = (tmp_path / "toy.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in lines] == sorted(parts)


@pytest.mark.parametrize("line", ["train", "train\t", "holdout\tc.jpg", "train c.jpg", "test\ta.jpg", ""])
def test_a_bad_line_is_named_with_its_file(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "FOLDER", tmp_path)
    (tmp_path / "toy.tsv").write_text(f"train\ta.jpg\nval\tb.jpg\n{line}\ntest\td.jpg\n")
    with pytest.raises(SettingsError, match=r"toy\.tsv, line 3"):
        split.load("toy.tsv")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.tsv.*calibration split"):
        split.load("nowhere.tsv")


def test_a_window_belongs_where_its_field_does() -> None:
    parts: dict[str, split.Part] = {"field": "val", "monocyte/MO_1.jpg": "test"}
    assert split.part_of(sample("field/white3", 1), parts) == "val"
    assert split.part_of(sample("monocyte/MO_1.jpg", 1), parts) == "test"
    assert split.part_of(sample("monocyte/MO_2.jpg", 1), parts) is None


# The files that the training uses


def test_there_are_committed_files() -> None:
    assert {"pbc.tsv", "mll_marrow.tsv"} <= set(COMMITTED)


@pytest.mark.parametrize("file", COMMITTED)
def test_committed_files_have_every_name_once_and_its_pixels(file: str) -> None:
    """`load` refuses a second time; the count is that of the lines."""
    parts = split.load(file)
    assert len(parts) + parts.own == len((split.FOLDER / file).read_text().splitlines())
    assert parts.hashes.keys() == parts.keys()


def test_a_dataset_with_a_split_of_its_own_goes_by_it_but_for_what_is_excluded(tmp_path: Path) -> None:
    excluded, other = (replace(sample("val/7", image), part="val") for image in (1, 2))
    split.save({"val/7": "excluded"}, tmp_path / "own.tsv", {"val/7": pixels_sha256(excluded.image())}, own=True)
    parts = split.load(str(tmp_path / "own.tsv"))
    assert split.part_of(excluded, parts) is None
    assert split.part_of(other, parts) == "val", "another edition of the dataset, where that name is another cell"
    assert split.part_of(replace(other, name="test/7", part="test"), parts) == "test"


def test_names_keep_their_part_and_copies_leave_training() -> None:
    old: dict[str, split.Assigned] = {"a": "train", "b": "test", "c": "val", "d": "train", "e": "train"}
    same = {"a": "1", "b": "1", "c": "2", "d": "2", "e": "3", "new": "3", "other": "4", "both": "5"}
    settled = split.settle({"new": "test", "other": "val"}, old, same)
    assert settled == {
        "a": "excluded",
        "b": "test",
        "c": "val",
        "d": "excluded",
        "e": "train",
        "new": "train",
        "other": "val",
        "both": "excluded",
    }


def test_the_seven_marrow_classes_keep_the_parts_of_the_five() -> None:
    assert split.load("mll_marrow.tsv").items() <= split.load("mll_marrow7.tsv").items()


@pytest.mark.parametrize(("file", "cells", "classes"), [("pbc.tsv", 13_582, 8), ("mll_marrow.tsv", 3_731, 5)])
def test_committed_parts_add_up_in_every_class(file: str, cells: int, classes: int) -> None:
    by_class: dict[str, Counter[split.Assigned]] = defaultdict(Counter)
    for name, part in split.load(file).items():
        if part != "excluded":
            by_class[name.split("/")[0]][part] += 1
    assert len(by_class) == classes
    assert sum(found.total() for found in by_class.values()) == cells
    for found in by_class.values():
        for part, share in split.SHARES.items():
            assert abs(found[part] - share * found.total()) <= 3, "identical images move together"


def test_the_known_image_of_two_classes_is_left_out() -> None:
    names = split.load("pbc.tsv")
    assert [name for name, part in names.items() if part == "excluded"] == [
        "eosinophil/EO_225902.jpg",
        "neutrophil/BNE_191112.jpg",
    ]
