"""Labelled fields: reading, near-copies, matching."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encoded

from calibration import fields
from edgecell.errors import SettingsError


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
        target = folder / part / split / f"{name}.{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
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


def test_splits_are_folders_above_or_below_or_absent(tmp_path: Path) -> None:
    layouts = {"images/val/a": "val", "valid/images/a": "valid", "Images/a": None}
    for number, (place, split) in enumerate(layouts.items()):
        folder = tmp_path / str(number)
        for part, content in ((place + ".png", encoded(".png", scene(1))), (labels_of(place), b"2 0.5 0.5 0.1 0.1\n")):
            (folder / part).parent.mkdir(parents=True)
            (folder / part).write_bytes(content)
        [field] = fields.read_fields(folder, split)
        assert (field.name, field.split, field.kinds.tolist(), field.labelled) == ("a", split or "", [2], True)


def labels_of(place: str) -> str:
    return place.replace("images", "labels").replace("Images", "Labels") + ".txt"


def test_a_split_is_never_guessed(tmp_path: Path) -> None:
    write(tmp_path, "a", scene(1), "")
    write(tmp_path, "b", scene(2), "", split="val")
    with pytest.raises(SettingsError, match=r"has the splits train, val\. Fix: choose one with --split"):
        list(fields.read_fields(tmp_path, None))
    with pytest.raises(SettingsError, match=r"no images/test/\* under .*; it has the splits train, val"):
        list(fields.read_fields(tmp_path, "test"))


def test_sources_are_sizes_folders_or_as_a_table_says(tmp_path: Path) -> None:
    for name in ("one/a", "two/b"):
        write(tmp_path, name, scene(1), "")
    table = tmp_path / "sources.tsv"
    table.write_text("one/a.jpg\tZeiss\ntwo/b\tLeitz\n")

    def sources(how: str) -> list[str]:
        return [field.source for field in fields.read_fields(tmp_path, "train", source_of=fields.source_of(how))]

    assert sources("size") == ["320x240", "320x240"]
    assert sources("folder") == ["one", "two"]
    assert sources(str(table)) == ["Zeiss", "Leitz"]
    table.write_text("one/a\tZeiss\n")
    with pytest.raises(SettingsError, match="no source for field two/b"):
        sources(str(table))
    table.write_text("one/a Zeiss\n")
    with pytest.raises(SettingsError, match=r"sources\.tsv, row 1: 1 cells"):
        sources(str(table))
    with pytest.raises(SettingsError, match="no such file"):
        sources("microscope")


def test_what_lacks_its_other_half_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "a", scene(1), "1 0.5 0.5 0.25 0.5\n")
    write(tmp_path, "b", scene(2), "")
    write(tmp_path, "c", scene(3), "")
    (tmp_path / "labels" / "train" / "b.txt").unlink()
    (tmp_path / "images" / "train" / "c.jpg").unlink()
    (tmp_path / "labels" / "train" / "classes.txt").write_text("white\nred\nplatelet\n")
    assert [(field.name, field.labelled) for field in fields.read_fields(tmp_path, "train")] == [("a", True), ("b", False)]
    assert "1 images have no label file, such as images/train/b.jpg" in caplog.text
    assert "1 label files have no image, such as labels/train/c.txt" in caplog.text
    (tmp_path / "labels" / "train" / "a.txt").unlink()
    with pytest.raises(SettingsError, match=r"no image of .* has a label file"):
        list(fields.read_fields(tmp_path, "train"))


def test_a_broken_label_is_named_by_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, "a", scene(1), "1 0.5 0.5 0.25 0.5\n1 0.5 0.5\n")
    with pytest.raises(SettingsError, match=r"labels/train/a\.txt, line 2: 3 values"):
        list(fields.read_fields(tmp_path, "train"))
    (tmp_path / "labels" / "train" / "a.txt").write_bytes(b"1 0.5 \xff")
    with pytest.raises(SettingsError, match=r"labels/train/a\.txt is not UTF-8 text at byte 6"):
        list(fields.read_fields(tmp_path, "train"))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    for part in ("one", "two"):
        write(tmp_path / part, "a", scene(1), "")
    with pytest.raises(SettingsError, match=r"are both field a"):
        list(fields.read_fields(tmp_path, "train"))
