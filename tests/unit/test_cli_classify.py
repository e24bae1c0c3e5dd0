"""`edgecell classify`: what it prints for machines and for people."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import Ended, called
from pictures import PIXEL_UM, encoded, write_fields
from tiny_bundle import CLASSES, certified, make_tiny_bundle, tiny_crops

from edgecell.messages import NOTICE

CELLS = 70  # more than one batch of the engine's
SIZE = 32


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("classify") / "tiny").path


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of single cells, one below the other."""
    folder = tmp_path_factory.mktemp("cells")
    for index, crop in enumerate(tiny_crops(CELLS, size=SIZE)):
        file = folder / ("odd" if index % 2 else "even") / f"cell{index}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded(".png", crop[..., ::-1]))
    return folder


@pytest.fixture(scope="module")
def ended(cells: Path, tiny: Path) -> Ended:
    return called("classify", cells, "--bundle", tiny, "--json", "--pixel-um", "0.5")


@pytest.fixture(scope="module")
def lines(ended: Ended) -> list[dict[str, Any]]:
    return ended.documents


def test_every_image_has_one_line_in_natural_order(ended: Ended, lines: list[dict[str, Any]], cells: Path) -> None:
    assert ended.code == 0
    numbers = [*range(0, CELLS, 2), *range(1, CELLS, 2)]
    folders = ["even", "odd"]
    assert [line["image"] for line in lines] == [str(cells / folders[number % 2] / f"cell{number}.png") for number in numbers]


def test_a_line_has_the_documented_form(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert list(line) == [
            *("image", "label", "confidence", "decided", "probabilities"),
            *("domain", "pixel_um", "pixel_um_source"),
        ]
        shares = line["probabilities"]
        assert list(shares) == list(CLASSES)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert line["label"] == max(shares, key=shares.__getitem__)
        assert line["confidence"] == pytest.approx(shares[line["label"]])


def test_the_label_is_the_most_probable_class_whether_decided_or_not(lines: list[dict[str, Any]]) -> None:
    assert {line["decided"] for line in lines} == {True, False}
    for line in lines:
        assert line["decided"] == (line["confidence"] >= 0.6)  # the tiny bundle's threshold
    assert len({line["label"] for line in lines}) == len(CLASSES)


def test_answers_do_not_depend_on_the_company(cells: Path, tiny: Path, lines: list[dict[str, Any]]) -> None:
    last = lines[-1]
    (alone,) = called("classify", last["image"], "--bundle", tiny, "--json", "--pixel-um", "0.5").documents
    assert alone["label"] == last["label"]
    assert alone["probabilities"] == pytest.approx(last["probabilities"], abs=1e-5)


def test_another_scale_gives_other_answers(cells: Path, tiny: Path, ended: Ended) -> None:
    assert {(line["pixel_um"], line["pixel_um_source"]) for line in ended.documents} == {(0.5, "settings")}
    other = called("classify", cells, "--bundle", tiny, "--json", "--pixel-um", "0.25").documents
    assert [line["probabilities"] for line in other] != [line["probabilities"] for line in ended.documents]


def test_without_red_cells_the_scale_is_that_of_the_bundles_dataset(tmp_path: Path, tiny: Path) -> None:
    """A window of 16 um is 32 px at 0.5 um: it fits into the first image and not into the second one."""
    for name, side in (("large", 40), ("small", 24)):
        (tmp_path / f"{name}.png").write_bytes(encoded(".png", np.full((side, side, 3), 230, np.uint8)))
    told = called("classify", tmp_path, "--bundle", tiny, "--json")
    assert {(line["pixel_um"], line["pixel_um_source"]) for line in told.documents} == {(0.5, "bundle")}
    assert "scale: 0.5 um per pixel (bundle)" in told.err
    given = called("classify", tmp_path, "--bundle", tiny, "--json", "--pixel-um", "0.5")
    assert "scale" not in given.err
    sure = [line["confidence"] >= 0.6 for line in given.documents]
    assert [line["decided"] for line in given.documents] == sure == [True, True]
    assert [line["decided"] for line in told.documents] == [True, False], "a scale that nothing supports holds labels back"


def test_red_cells_that_contradict_the_bundle_are_believed(tmp_path: Path, tiny: Path) -> None:
    """The phantom's fields are drawn at 0.1 um per pixel; the tiny bundle's dataset would have 0.5."""
    write_fields(tmp_path, 2)
    told = called("classify", tmp_path, "--bundle", tiny, "--json")
    for line in told.documents:
        assert line["pixel_um_source"] == "estimated"
        assert line["pixel_um"] == pytest.approx(PIXEL_UM, rel=0.15)


def test_red_cells_in_few_of_the_images_are_not_believed(tmp_path: Path, tiny: Path) -> None:
    for number in range(3):
        (tmp_path / f"a{number}.png").write_bytes(encoded(".png", np.full((40, 40, 3), 230, np.uint8)))
    write_fields(tmp_path, 1)
    told = called("classify", tmp_path, "--bundle", tiny, "--json")
    assert {(line["pixel_um"], line["pixel_um_source"]) for line in told.documents} == {(0.5, "bundle")}


def test_the_notice_is_told_but_not_among_the_json_lines(ended: Ended) -> None:
    assert NOTICE in ended.err
    assert NOTICE not in ended.out


def test_people_get_a_line_an_image_a_table_and_the_notice(cells: Path, tiny: Path, lines: list[dict[str, Any]]) -> None:
    shown = called("classify", cells, "--bundle", tiny, "--pixel-um", "0.5").out
    assert shown.rstrip().endswith(NOTICE)
    assert f"{CELLS} cells" in shown
    for line in lines[:5]:
        doubt = "" if line["decided"] else " (unsure)"
        assert f"{line['image']}: {line['label']} {100 * line['confidence']:.1f} %{doubt}\n" in shown


def test_classes_come_from_the_bundle(tmp_path: Path, cells: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    renamed = tuple(msgspec.structs.replace(each, name=f"other_{each.name}") for each in bundle.manifest.classes)
    certified(bundle.path, msgspec.structs.replace(bundle.manifest, classes=renamed))
    first = called("classify", cells / "even", "--bundle", bundle.path, "--json").documents[0]
    assert list(first["probabilities"]) == [f"other_{name}" for name in CLASSES]
