"""Labelled fields: reading, near-copies, one-to-one scoring."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from calibration import fields
from calibration.commands import cli
from edgecell.errors import SettingsError
from edgecell.messages import RED_BLOOD_CELL, Frame, Segmentation
from edgecell.segmenters.stain import StainSegmenter

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "txl_pbc.tar"


def scene(seed: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 235, np.uint8)
    for x, y in np.random.default_rng(seed).integers(20, 220, (9, 2)).tolist():
        cv2.circle(image, (x, y), 18, (190, 150, 145), -1)
    return image


def labelled(image: NDArray[np.uint8], boxes: list[list[float]], kinds: list[int]) -> fields.Field:
    return fields.Field(
        name="f",
        split="train",
        image=image,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        kinds=np.array(kinds, np.int64),
    )


def write(folder: Path, name: str, image: NDArray[np.uint8], labels: str, split: str = "train") -> None:
    for part, suffix in (("images", "jpg"), ("labels", "txt")):
        (folder / part / split).mkdir(parents=True, exist_ok=True)
        target = folder / part / split / f"{name}.{suffix}"
        if suffix == "jpg":
            target.write_bytes(cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes())
        else:
            target.write_text(labels)


def test_reads_boxes_in_pixels_from_a_folder_and_from_a_tar(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write(folder, "b", scene(1), "1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.1 0.1\n")
    write(folder, "a", scene(2), "")
    write(folder, "v", scene(3), "", split="val")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, "txl")
    for data in (folder, tmp_path / "set.tar"):
        first, second = fields.read_fields(data, "train")
        assert (first.name, second.name) == ("a", "b")
        assert len(first.boxes) == 0
        assert second.boxes[0] == pytest.approx([120, 60, 200, 180])
        assert second.kinds.tolist() == [1, 0]
        assert second.source == "320x240"
        assert np.abs(second.image.astype(int) - scene(1)).mean() < 3, "RGB order"


def test_nothing_there_says_how_to_mend_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no images"):
        list(fields.read_fields(tmp_path, "val"))
    with pytest.raises(SettingsError, match="neither"):
        list(fields.read_fields(tmp_path / "absent", "val"))
    write(tmp_path, "x", scene(0), "")
    (tmp_path / "images" / "train" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(SettingsError, match="not an image"):
        list(fields.read_fields(tmp_path, "train"))


def test_a_tar_member_that_is_no_file_is_skipped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        member = tarfile.TarInfo("t/images/train/link.jpg")
        member.type, member.linkname = tarfile.DIRTYPE, ""
        tar.addfile(member, io.BytesIO())
    with pytest.raises(SettingsError, match="no images"):
        list(fields.read_fields(tmp_path / "s.tar", "train"))


def test_near_copies_share_a_group() -> None:
    base = scene(1)
    copies = [
        base,
        cv2.resize(base, (240, 240)).astype(np.uint8),
        np.ascontiguousarray(np.rot90(base)),
        np.ascontiguousarray(base[:, ::-1]),
        (base * 0.7).astype(np.uint8),
    ]
    groups = fields.near_copies([labelled(image, [], []) for image in [*copies, scene(2), scene(3)]])
    assert len(set(groups[:5].tolist())) == 1
    assert len(set(groups[4:].tolist())) == 3


def test_one_box_matches_one_label() -> None:
    label = np.array([[0, 0, 10, 10]], np.float64)
    twice = np.array([[0, 0, 10, 9], [0, 0, 10, 10]], np.float64)
    assert fields.match(twice, label) == [(1, 0)]
    assert fields.match(label, np.array([[0, 0, 10, 21]], np.float64)) == []
    assert fields.match(label, np.array([[0, 0, 10, 20]], np.float64)) == [(0, 0)]
    assert fields.match(np.zeros((0, 4)), label) == []
    assert fields.match(label, np.zeros((0, 4))) == []


def test_a_box_of_another_kind_matches_nothing() -> None:
    field = labelled(scene(0), [[0, 0, 10, 10]], [1])
    right = fields.tallies(field, field.boxes, np.array([1]))
    wrong = fields.tallies(field, field.boxes, np.array([0]))
    assert right[1].tolist() == [1, 1, 1]
    assert wrong[:2].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_figures_by_source() -> None:
    both = [labelled(scene(0), [], []), labelled(scene(1, 240, 240), [], [])]
    counts = np.array([[[1, 1, 1], [8, 10, 8], [0, 0, 0]], [[0, 1, 1], [5, 5, 9], [0, 0, 0]]], np.int64)
    figures = fields.report(both, counts)
    assert list(figures) == ["all", "240x240", "320x240"]
    assert figures["all"]["kinds"][RED_BLOOD_CELL]["f1"] == pytest.approx(2 * 13 / 32)
    assert figures["all"]["red_count_error"] == 3.0
    assert figures["240x240"]["kinds"]["nucleated"]["f1"] == 0.0
    low, high = figures["all"]["kinds"][RED_BLOOD_CELL]["interval"]
    assert low == pytest.approx(10 / 14)
    assert high == pytest.approx(16 / 18)


class Exact(StainSegmenter):
    """A stand-in that finds nothing, to test the command without a segmenter's mistakes."""

    def segment(self, frame: Frame) -> Segmentation:
        assert not frame.image.flags.writeable
        return Segmentation(cells=(), pixel_um=None, pixel_um_source="unknown")


def test_figures_are_a_table_or_plain_values(tmp_path: Path) -> None:
    write(tmp_path, "x", scene(0), "1 0.5 0.5 0.25 0.5\n")
    found = fields.score(tmp_path, "train", Exact)
    figures = json.loads(json.dumps(found.summary()))
    assert (figures["split"], figures["iou"]) == ("train", 0.5)
    assert figures["by_source"]["all"]["kinds"][RED_BLOOD_CELL]["recall"] == 0.0
    assert figures["by_source"]["all"]["red_count_error"] == 1.0
    assert "320x240" in str(found)


def test_the_command_prints_either(tmp_path: Path) -> None:
    write(tmp_path, "x", scene(0), "1 0.5 0.5 0.25 0.5\n")
    arguments = ["evaluate-fields", "--data", str(tmp_path), "--split", "train"]
    plain, as_json = (CliRunner().invoke(cli, [*arguments, *more]) for more in ([], ["--json"]))
    assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
    assert plain.stdout.splitlines()[1].startswith("all ")
    assert set(json.loads(as_json.stdout)["by_source"]) == {"all", "320x240"}


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED.name} in shared/data beside the project")
def test_real_fields_are_segmented_as_well_as_promised() -> None:
    chosen = [field for number, field in enumerate(fields.read_fields(SHARED, "train")) if number % 46 == 0]
    counts, _ = fields.evaluate(chosen, StainSegmenter)
    figures = fields.report(chosen, counts)["all"]
    assert figures["kinds"]["nucleated"]["f1"] >= 0.85
    assert figures["kinds"][RED_BLOOD_CELL]["f1"] >= 0.8
    assert figures["red_count_error"] <= 3.0
