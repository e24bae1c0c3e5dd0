"""A laboratory's own cells: both layouts, what their options say, and what is refused instead of guessed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from toy_cells import PIXEL_UM, encoded, pbc_files, toy_cell, write_folder

from calibration import datasets, recipe, split
from calibration.cells import check_taught, samples, training
from calibration.commands import split as split_command
from calibration.datasets import adapter
from calibration.sample import Sample
from edgecell.errors import SettingsError
from edgecell.imagefile import load_image

NAMES = ("neutrophil", "lymphocyte", "platelet")
SAID = {"pixel_um": PIXEL_UM, "licence": "ours", "source": "two readers, slide box 7"}
CROPS = {"folder": "mine", "classes": ["neutrophil", "lymphocyte"], "ignore": ["platelet"], **SAID}
BOXES = {"folder": "fields", "classes": ["neutrophil", "lymphocyte"], "ignore": ["platelet"], **SAID}
PLACES = ((100, 100), (300, 120), (200, 300))


def read(dataset: str, options: dict[str, Any], root: Path) -> list[Sample]:
    return list(adapter(dataset, options).read(root))


def write_field(folder: Path, name: str, *, polygons: bool = False, seed: int = 0) -> None:
    """A field of 400x400 px with one cell of each name at PLACES, and its labels."""
    image = np.full((400, 400, 3), 235, np.uint8)
    lines = []
    for number, (label, (x, y)) in enumerate(zip(NAMES, PLACES, strict=True)):
        image[y - 80 : y + 80, x - 80 : x + 80] = toy_cell(label, seed * 10 + number, 160)
        box = f"{x / 400} {y / 400} 0.2 0.3"
        corners = f"{(x - 40) / 400} {(y - 60) / 400} {(x + 40) / 400} {(y - 60) / 400} {x / 400} {(y + 60) / 400}"
        lines.append(f"{number} {corners if polygons else box}\n")
    write_folder(
        {f"images/{name}.png": encoded(image, ".png"), f"labels/{name}.txt": "".join(lines).encode()},
        folder,
    )


def write_fields(folder: Path, count: int, *, polygons: bool = False) -> None:
    (folder / "labels").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(NAMES))
    for number in range(count):
        write_field(folder, f"slide{number % 4}_{number}", polygons=polygons, seed=number)


# Crops


def test_crops_are_labelled_by_their_folder_and_scaled_as_the_recipe_says(tmp_path: Path) -> None:
    write_folder({**pbc_files(2), "neutrophil/deep/NE_9.png": encoded(toy_cell("neutrophil", 9), ".png")}, tmp_path / "mine")
    write_folder({"neutrophil/.DS_1.jpg": b"hidden", "neutrophil/notes.txt": b"text"}, tmp_path / "mine")
    found = read("own_crops", CROPS, tmp_path)
    assert [(each.name, each.labels, each.pixel_um) for each in found] == [
        ("neutrophil/deep/NE_9.png", ("neutrophil",), PIXEL_UM),
        ("neutrophil/NE_1.jpg", ("neutrophil",), PIXEL_UM),
        ("neutrophil/NE_2.jpg", ("neutrophil",), PIXEL_UM),
        ("lymphocyte/LY_1.jpg", ("lymphocyte",), PIXEL_UM),
        ("lymphocyte/LY_2.jpg", ("lymphocyte",), PIXEL_UM),
    ]
    assert found[0].image().shape == (224, 224, 3)


def test_licence_source_and_scale_go_into_the_facts() -> None:
    facts = adapter("own_crops", CROPS).facts
    assert (facts.licence, facts.citation, facts.pixel_um) == ("ours", "two readers, slide box 7", PIXEL_UM)
    assert facts.pixel_um_source == "given by the laboratory"
    assert facts.names == ("neutrophil", "lymphocyte")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folder": "yours"}, r"no folder .*yours.*point --data at the folder above it"),
        ({"ignore": []}, r"has the class 'platelet', which the recipe does not know.*data\.options\.ignore"),
        (
            {"classes": ["neutrophil", "lymphocyte", "blast"]},
            r"has no class 'blast'.*there are: lymphocyte, neutrophil, platelet",
        ),
        ({"pixel_um": 0}, r"data\.options of dataset own_crops.*pixel_um"),
        ({"pixel_nm": 100}, r"data\.options of dataset own_crops.*pixel_nm"),
        ({"slide": r"^box(\d+)"}, r"NE_1\.jpg does not say its slide"),
    ],
)
def test_what_is_unclear_about_crops_is_an_error(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_folder(pbc_files(1), tmp_path / "mine")
    with pytest.raises(SettingsError, match=said):
        read("own_crops", {**CROPS, **change}, tmp_path)


def test_a_class_without_an_image_is_an_error(tmp_path: Path) -> None:
    write_folder(pbc_files(1, ["neutrophil", "platelet"]), tmp_path / "mine")
    (tmp_path / "mine/lymphocyte").mkdir()
    with pytest.raises(SettingsError, match="lymphocyte holds no image"):
        read("own_crops", CROPS, tmp_path)


def test_an_option_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"own_crops.*missing required field `folder`"):
        adapter("own_crops")


def test_a_published_dataset_takes_no_options() -> None:
    with pytest.raises(SettingsError, match="pbc takes no options"):
        adapter("pbc", {"folder": "mine"})


@pytest.mark.parametrize("pattern", [r"^(slide\d)_", r"^slide\d"])
def test_slides_come_from_the_names(pattern: str, tmp_path: Path) -> None:
    files = {f"neutrophil/slide{number}_1.jpg": encoded(toy_cell("neutrophil", number)) for number in range(3)}
    write_folder(files, tmp_path / "mine")
    options = {**CROPS, "classes": ["neutrophil"], "slide": pattern}
    assert [each.slide for each in read("own_crops", options, tmp_path)] == ["slide0", "slide1", "slide2"]
    assert adapter("own_crops", options).facts.grouped_by == "slide"


# Fields


@pytest.mark.parametrize("polygons", [False, True])
def test_cells_are_cut_from_their_field_with_the_cell_where_it_was(polygons: bool, tmp_path: Path) -> None:
    write_fields(tmp_path / "fields", 1, polygons=polygons)
    found = read("own_boxes", BOXES, tmp_path)
    assert [(each.name, each.labels) for each in found] == [
        ("slide0_0/cell0", ("neutrophil",)),
        ("slide0_0/cell1", ("lymphocyte",)),
    ]
    field = load_image(tmp_path / "fields/images/slide0_0.png")
    for each, (x, y) in zip(found, PLACES, strict=False):
        assert each.centre_px is not None
        here_x, here_y = (round(at) for at in each.centre_px)
        np.testing.assert_array_equal(
            each.image()[here_y - 50 : here_y + 50, here_x - 50 : here_x + 50], field[y - 50 : y + 50, x - 50 : x + 50]
        )


def test_cells_that_the_border_cuts_are_left_out(tmp_path: Path) -> None:
    write_fields(tmp_path / "fields", 1)
    (tmp_path / "fields/labels/slide0_0.txt").write_text("0 0.05 0.5 0.1 0.1\n1 0.5 0.951 0.1 0.1\n0 0.5 0.5 0.1 0.1\n")
    assert [each.name for each in read("own_boxes", BOXES, tmp_path)] == ["slide0_0/cell2"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "neutrophil\r\nlymphocyte\r\nplatelet\r\n"),
        ("labels/classes.txt", "neutrophil\nlymphocyte\nplatelet\n\n"),
        ("data.yaml", "names: [neutrophil, lymphocyte, platelet]\nnc: 3\n"),
        ("data.yaml", "names:\n  0: neutrophil\n  2: platelet\n  1: lymphocyte\n"),
    ],
)
def test_names_of_classes_are_found_where_tools_write_them(name: str, text: str, tmp_path: Path) -> None:
    write_fields(tmp_path / "fields", 1)
    (tmp_path / "fields/classes.txt").unlink()
    (tmp_path / "fields" / name).write_text(text)
    assert [each.labels for each in read("own_boxes", BOXES, tmp_path)] == [("neutrophil",), ("lymphocyte",)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("notes.txt", "", "does not say what its classes are called"),
        ("classes.txt", "", "no names of classes"),
        ("classes.txt", "a\na\n", "one twice"),
        ("data.yaml", "nc: 3\n", "no names of classes that can be read"),
        ("data.yaml", "names: {0: a, 2: b}\n", "no names of classes that can be read"),
        ("data.yaml", "names: [\n", "no names of classes that can be read"),
        ("classes.txt", "neutrophil\nlymphocyte\nplatelet\nblast\n", "has the class 'blast'"),
        ("classes.txt", "neutrophil\nplatelet\n", "has no class 'lymphocyte'"),
    ],
)
def test_names_that_are_missing_or_unknown_are_an_error(name: str, text: str, said: str, tmp_path: Path) -> None:
    write_fields(tmp_path / "fields", 1)
    (tmp_path / "fields/classes.txt").unlink()
    (tmp_path / "fields" / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        read("own_boxes", BOXES, tmp_path)


def test_a_broken_label_line_is_named(tmp_path: Path) -> None:
    write_fields(tmp_path / "fields", 1)
    (tmp_path / "fields/labels/slide0_0.txt").write_text("0 0.5 0.5 0.2 0.2\n3 0.5 0.5 0.2 0.2\n")
    with pytest.raises(SettingsError, match=r"slide0_0\.txt, line 2"):
        read("own_boxes", BOXES, tmp_path)


def test_yolo_s_own_splits_are_read_together_under_names_of_their_own(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_field(tmp_path, "field")
        for kind, suffix in (("images", "png"), ("labels", "txt")):
            to = tmp_path / "fields" / kind / part / f"field.{suffix}"
            to.parent.mkdir(parents=True)
            (tmp_path / kind / f"field.{suffix}").rename(to)
    (tmp_path / "fields/classes.txt").write_text("\n".join(NAMES))
    found = read("own_boxes", {**BOXES, "splits": ["train", "val"]}, tmp_path)
    assert [each.name for each in found] == [f"{part}-field/cell{number}" for part in ("train", "val") for number in range(2)]
    with pytest.raises(SettingsError, match="has the splits train, val"):
        read("own_boxes", BOXES, tmp_path)


# From folder to training


def own_recipe(folder: Path, options: dict[str, Any], dataset: str) -> Path:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    text = f"""
name = "mine"
version = "0.1.0"
specimen = "blood"
preprocess = {{ pixel_um = 0.1, crop_um = 20.0, size_px = 32, mean = [0.75, 0.65, 0.8], std = [0.25, 0.3, 0.2] }}
network = {{ part = "resnet_int8", widths = [16, 32], blocks = [1, 1] }}
training = {{ seed = 1, epochs = 1 }}

[[classes]]
name = "granulocyte"
abbreviation = "GRA"
group = "leukocyte"

[[classes]]
name = "lymphocyte"
abbreviation = "LYM"
group = "leukocyte"

[[data]]
dataset = "{dataset}"
split = "./mine.tsv"
classes = {{ neutrophil = "granulocyte", lymphocyte = "lymphocyte" }}

[data.options]
{lines}
"""
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def called(what: object, data: Path, seed: int = 1) -> Any:
    return CliRunner().invoke(split_command.command, [str(what), "--data", str(data), "--seed", str(seed)])


def test_a_split_lies_beside_the_recipe_and_is_made_once(tmp_path: Path) -> None:
    write_folder(pbc_files(20), tmp_path / "data/mine")
    file = own_recipe(tmp_path, CROPS, "own_crops")
    how, _ = recipe.load(file)
    with pytest.raises(SettingsError, match=r"no split file .*mine\.tsv.*python -m calibration split"):
        next(samples(how.data[0], "train", tmp_path / "data", how.class_names))
    result = called(file, tmp_path / "data")
    # Not 28, 6, 6: some of the drawn cells are so alike that they stay together.
    assert "mine.tsv: 40 names, train 30, val 4, test 6, excluded 0" in result.output
    parts = {part: list(samples(how.data[0], part, tmp_path / "data", how.class_names)) for part in split.SHARES}
    assert Counter(each.labels for each in parts["train"]) == {("granulocyte",): 15, ("lymphocyte",): 15}
    assert not {each.name for each in parts["train"]} & {each.name for each in (*parts["val"], *parts["test"])}
    again = called(file, tmp_path / "data", seed=2)
    assert isinstance(again.exception, SettingsError)
    assert "all split files" in str(again.exception)


@pytest.mark.parametrize(("slide", "cut"), [("", "/"), (r"^(slide\d)_", "_")])
def test_no_split_runs_through_a_field_or_a_slide(slide: str, cut: str, tmp_path: Path) -> None:
    write_fields(tmp_path / "data/fields", 20)
    file = own_recipe(tmp_path, {**BOXES, "slide": slide}, "own_boxes")
    assert called(file, tmp_path / "data").exit_code == 0
    sides: dict[str, set[str]] = {}
    for name, part in split.load(str(tmp_path / "mine.tsv")).items():
        sides.setdefault(name.split(cut)[0], set()).add(part)
    assert len(sides) == (4 if slide else 20)
    assert all(len(parts) == 1 for parts in sides.values())
    assert set().union(*sides.values()) == set(split.SHARES)


def test_identical_images_of_two_slides_stay_together() -> None:
    image = toy_cell("neutrophil", 1)

    def cell(slide: int, number: int, picture: Any) -> Sample:
        return Sample(name=f"{slide}/{number}", labels=("x",), content=picture, pixel_um=0.1, slide=str(slide))

    cells = [cell(slide, number, toy_cell("neutrophil", 10 * slide + number)) for slide in range(12) for number in range(2)]
    bridged = [*cells, cell(3, 9, image), cell(8, 9, image)]
    for seed in range(6):
        parts = split.make_grouped(bridged, seed, lambda each: each.slide)
        assert len(parts) == len(bridged)
        assert len({parts[name] for name in ("3/0", "3/9", "8/0", "8/9")}) == 1
        shares = Counter(parts.values())
        assert abs(shares["train"] / len(parts) - split.SHARES["train"]) < 0.15


def test_a_class_without_a_training_cell_is_named_before_training(tmp_path: Path) -> None:
    write_folder(pbc_files(2, ["neutrophil"]), tmp_path / "mine")
    how, _ = recipe.load(own_recipe(tmp_path, {**CROPS, "classes": ["neutrophil"], "ignore": []}, "own_crops"))
    how = msgspec.structs.replace(how, data=(msgspec.structs.replace(how.data[0], classes={"neutrophil": "granulocyte"}),))
    split.save({f"neutrophil/NE_{number}.jpg": "train" for number in (1, 2)}, tmp_path / "mine.tsv")
    with pytest.raises(SettingsError, match="no training cell is labelled lymphocyte"):
        check_taught(how, training(how, tmp_path, tmp_path / "work"))


def test_a_dataset_that_nobody_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no dataset 'pcb'"):
        split_command.command.callback("pcb", tmp_path, 1)  # type: ignore[misc]


def test_own_adapters_are_no_published_datasets() -> None:
    assert not set(datasets.OWN) & set(datasets.TABLE)
