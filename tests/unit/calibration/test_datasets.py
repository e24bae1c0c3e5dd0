"""Every adapter on a small generated set in its layout."""

import tempfile
import zipfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import made_datasets
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy_cells import encoded, pbc_files, write_folder, write_tar

from calibration import npz, split
from calibration.adapter import Adapter, Fault
from calibration.datasets import TABLE, adapter, txl_pbc
from calibration.datasets.balf import Balf
from calibration.datasets.mll_marrow import MllMarrow
from calibration.datasets.pbc import PUBLISHED, Pbc
from calibration.datasets.txl_pbc import LEUKOCYTES, PLATELET, RED, WHITE, TxlEmpty, TxlPbc, TxlWhite, square_pixels
from calibration.fields import Field
from calibration.sample import Sample
from edgecell.errors import SettingsError

JPEG = encoded(np.full((16, 16, 3), 200, np.uint8))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_adapter_names_licence_and_source_and_what_it_misses(name: str, tmp_path: Path) -> None:
    facts = adapter(name).facts
    assert facts.licence
    assert facts.citation
    assert facts.page.startswith("https://")
    assert facts.pixel_um_source or facts.pixel_um is None
    assert isinstance(adapter(name), Adapter)
    assert facts.classes
    assert len({each.name for each in facts.classes}) == len(facts.classes)
    with pytest.raises(SettingsError):
        next(adapter(name).read(tmp_path))


def test_published_counts_add_up() -> None:
    """Those of MLL marrow to the 171,374 cells of the paper; its download page counts 171,375 images."""
    for name, classes, cells in (("pbc", 8, 17_092), ("mll_marrow", 21, 171_374)):
        counts = [each.count for each in adapter(name).facts.classes]
        assert len(counts) == classes
        assert sum(count or 0 for count in counts) == cells


# PBC


def seen(root: Path) -> dict[str, tuple[tuple[str, ...], float | None, tuple[int, ...]]]:
    return {each.name: (each.labels, each.pixel_um, each.image().shape) for each in Pbc().read(root)}


def test_pbc_as_published_and_as_copied_are_the_same_samples(tmp_path: Path) -> None:
    files = pbc_files(3)
    junk = {"neutrophil/.DS_169665.jpg": b"junk", "unknown/UN_1.jpg": JPEG, "readme.txt": b"text"}
    write_folder({**files, **junk}, tmp_path / "published" / PUBLISHED)
    (tmp_path / "copy").mkdir()
    half = len(files) // 2
    write_tar({**dict(list(files.items())[:half]), **junk}, tmp_path / "copy" / "pbc_a.tar", "pbc")
    write_tar(dict(list(files.items())[half:]), tmp_path / "copy" / "pbc_b.tar", "pbc")
    published = seen(tmp_path / "published")
    assert published == seen(tmp_path / "copy")
    assert set(published) == set(files)
    assert published["lymphocyte/LY_2.jpg"] == (("lymphocyte",), 0.1, (224, 224, 3))


def test_pbc_has_eight_classes_and_spells_out_ig(tmp_path: Path) -> None:
    write_folder({f"{folder}/X_1.jpg": JPEG for folder in Pbc.facts.by_folder()}, tmp_path / "pbc")
    labels = [each.labels for each in Pbc().read(tmp_path)]
    assert len(labels) == 8
    assert ("immature_granulocyte",) in labels
    assert {name for (name,) in labels} == set(Pbc.facts.names)


def test_pbc_goes_by_the_originals_where_both_are_there(tmp_path: Path) -> None:
    write_folder({"neutrophil/NE_1.jpg": JPEG}, tmp_path / PUBLISHED)
    write_folder({"neutrophil/NE_2.jpg": JPEG}, tmp_path / "pbc")
    assert list(seen(tmp_path)) == ["neutrophil/NE_1.jpg"]


def test_a_missing_pbc_is_called_by_its_published_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=PUBLISHED):
        next(Pbc().read(tmp_path))


def test_a_file_that_is_no_image_is_named() -> None:
    for content in (b"", b"text"):
        with pytest.raises(SettingsError, match="neutrophil/NE_1"):
            Sample(name="neutrophil/NE_1.jpg", labels=("neutrophil",), content=content, pixel_um=0.1).image()


# MLL bone marrow


def test_mll_names_do_not_depend_on_subfolders(tmp_path: Path) -> None:
    """The large classes are published in subfolders of a thousand; the copies have none."""
    flat = {"NGS/NGS_00001.jpg": JPEG, "NGS/NGS_01001.jpg": JPEG, "LYT/LYT_00007.jpg": JPEG}
    nested = {"NGS/0001-1000/NGS_00001.jpg": JPEG, "NGS/1001-2000/NGS_01001.jpg": JPEG, "LYT/LYT_00007.jpg": JPEG}
    foreign = {"XYZ/XYZ_00001.jpg": JPEG, "ABBREVIATIONS.jpg": JPEG}
    write_folder({**nested, **foreign}, tmp_path / "folder" / "mll_marrow")
    (tmp_path / "tar").mkdir()
    write_tar({**flat, **foreign}, tmp_path / "tar" / "mll_marrow.tar", "mll_marrow")
    labels = {each.name: each.labels for each in MllMarrow().read(tmp_path / "folder")}
    assert labels == {each.name: each.labels for each in MllMarrow().read(tmp_path / "tar")}
    assert labels == {
        "NGS/NGS_00001.jpg": ("segmented_neutrophil",),
        "NGS/NGS_01001.jpg": ("segmented_neutrophil",),
        "LYT/LYT_00007.jpg": ("lymphocyte",),
    }


def faults(name: str, root: Path) -> dict[str, str]:
    return {each.name: each.kind for each in adapter(name).scan(root) if isinstance(each, Fault)}


def test_what_is_no_cell_of_a_class_is_named(tmp_path: Path) -> None:
    junk = {"neutrophil/.DS_1.jpg": b"", "unknown/UN_1.jpg": JPEG, "readme.txt": b"", "basophil/BA_1.jpg": JPEG}
    write_folder(junk, tmp_path / PUBLISHED)
    assert faults("pbc", tmp_path) == {
        "neutrophil/.DS_1.jpg": "junk",
        "unknown/UN_1.jpg": "unknown class",
        "readme.txt": "junk",
    }


def test_pbc_is_read_from_the_published_zip_too(tmp_path: Path) -> None:
    made_datasets.make_pbc(tmp_path / "folder", 2)
    with zipfile.ZipFile(tmp_path / f"{PUBLISHED}.zip", "w") as file:
        for path in (tmp_path / "folder").rglob("*.jpg"):
            file.write(path, path.relative_to(tmp_path / "folder"))
    assert seen(tmp_path) == seen(tmp_path / "folder")
    assert {shape for _, _, shape in seen(tmp_path).values()} == {(363, 360, 3)}


# BloodMNIST


@pytest.mark.parametrize(("name", "side"), [("bloodmnist", 28), ("bloodmnist_64", 64)])
def test_bloodmnist_is_read_row_by_row_with_its_own_split(name: str, side: int, tmp_path: Path) -> None:
    path = made_datasets.make_bloodmnist(tmp_path, 3, side)
    arrays = np.load(path)
    samples = list(adapter(name).read(tmp_path))
    assert Counter(each.part for each in samples) == {"train": 24, "val": 8, "test": 8}
    for sample in samples:
        part, number = sample.name.split("/")
        assert sample.part == part
        assert np.array_equal(sample.image(), arrays[f"{part}_images"][int(number)])
        assert sample.labels == (adapter("pbc").facts.names[int(arrays[f"{part}_labels"][int(number), 0])],)
        assert sample.scale() * side == pytest.approx(20.0)


def test_bloodmnist_of_another_size_is_refused_and_wrong_labels_are_named(tmp_path: Path) -> None:
    made = dict(np.load(made_datasets.make_bloodmnist(tmp_path, 1)))
    made["val_labels"][2] = 8
    np.savez(tmp_path / "bloodmnist.npz", **made)
    assert faults("bloodmnist", tmp_path) == {"val/00002": "label out of range"}
    np.savez(tmp_path / "bloodmnist_64.npz", **made)
    with pytest.raises(SettingsError, match=r"bloodmnist_64\.npz: train has images \(8, 28, 28, 3\)"):
        next(adapter("bloodmnist_64").read(tmp_path))
    del made["test_images"]
    np.savez(tmp_path / "bloodmnist.npz", **made)
    with pytest.raises(SettingsError, match="has no array test_images; it has: test_labels"):
        list(adapter("bloodmnist").read(tmp_path))


@pytest.mark.parametrize("array", [np.zeros((3, 2), np.float32), np.asfortranarray(np.zeros((3, 2), np.uint8)), np.uint8(1)])
def test_other_arrays_than_rows_of_bytes_are_refused(array: NDArray[Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=array)
    with pytest.raises(SettingsError, match="not rows of uint8"):
        next(npz.rows(tmp_path / "x.npz", "images"))


def test_a_pickle_in_an_npz_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.array([{"a": 1}], object))
    with pytest.raises(SettingsError, match="object"):
        npz.shape(tmp_path / "x.npz", "images")


def test_an_npz_without_its_end_is_named(tmp_path: Path) -> None:
    path = made_datasets.make_bloodmnist(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SettingsError, match=r"bloodmnist\.npz cannot be read"):
        next(adapter("bloodmnist").read(tmp_path))


# BMC-FGCD


def test_bmc_classes_are_the_folders_as_found(tmp_path: Path) -> None:
    made_datasets.make_bmc(tmp_path, 5, ["06_Band form", "Promyelocyte", "7"])
    labels = {each.name: each.labels[0] for each in adapter("bmc_fgcd").read(tmp_path)}
    assert Counter(labels.values()) == {"band_form": 5, "promyelocyte": 5, "class_7": 5}
    assert labels["train/06_Band form/0.jpg"] == labels["test/06_Band form/4.jpg"] == "band_form"


def test_bmc_is_read_from_a_zip_whatever_its_folders_are_called(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bmc_fgcd_v1.zip", "w") as file:
        file.writestr("BM data/Myeloblast/a.jpg", JPEG)
        file.writestr("BM data/train/Promyelocyte/b.jpg", JPEG)
        file.writestr("stray.jpg", JPEG)
    labels = {each.name: each.labels[0] for each in adapter("bmc_fgcd").read(tmp_path)}
    assert labels == {"Myeloblast/a.jpg": "myeloblast", "train/Promyelocyte/b.jpg": "promyelocyte"}
    assert faults("bmc_fgcd", tmp_path) == {"stray.jpg": "unknown class"}


# BALF


def test_balf_cells_of_both_image_sizes_are_the_same_windows(tmp_path: Path) -> None:
    made_datasets.make_balf(tmp_path, 2, originals=True)
    small, large = ({each.name: each for each in adapter(name).read(tmp_path)} for name in ("balf", "balf_originals"))
    assert len(small) == 14
    assert small.keys() == large.keys()
    assert {each.labels[0] for each in small.values()} == set(adapter("balf").facts.names)
    for name, sample in small.items():
        one, two = sample.image(), large[name].image()
        assert sample.centre(one) == pytest.approx(large[name].centre(two), abs=1.5)
        assert 128 <= max(one.shape) <= 129
        side = min(one.shape[0], two.shape[0]), min(one.shape[1], two.shape[1])
        difference = one[: side[0], : side[1]].astype(float) - two[: side[0], : side[1]]
        assert np.abs(difference).mean() < 12


def test_balf_fields_carry_polygons_and_boxes(tmp_path: Path) -> None:
    made_datasets.make_balf(tmp_path, 1)
    [field] = Balf().fields(tmp_path)
    assert field.image.shape == (640, 853, 3)
    assert [outline is None for outline in field.outlines] == [False, False, True] * 2 + [False]
    assert len(field.boxes) == len(field.kinds) == 7
    for box, outline in zip(field.boxes, field.outlines, strict=True):
        assert outline is None or np.allclose([*outline.min(axis=0), *outline.max(axis=0)], box)
    assert [each.name for each in adapter("balf").whole(tmp_path)] == ["0"]


def test_every_fault_of_balf_labels_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    made_datasets.make_balf(tmp_path, 3)
    top = tmp_path / "balf"
    labels = top / "Labels" / "train" / "0.txt"
    labels.write_text("7 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n1 1.5 0.5 0.1 0.1\n")
    (top / "Labels" / "train" / "1.txt").unlink()
    (top / "Images" / "train" / "2.jpg").write_bytes(b"no image")
    (top / "Labels" / "train" / "9.txt").write_text("")
    (top / "Images" / "train" / "notes.doc").write_text("")
    found = [(each.kind, each.name.split("/")[-1]) for each in adapter("balf").scan(tmp_path) if isinstance(each, Fault)]
    assert found == [
        ("no labels", "1.jpg"),
        ("no image", "9.txt"),
        ("junk", "notes.doc"),
        ("label out of range", "0.txt"),
        ("label out of range", "0.txt"),
        ("unreadable", "2.jpg"),
    ]
    lines = [each.what for each in adapter("balf").scan(tmp_path) if isinstance(each, Fault) and each.name.endswith("/0.txt")]
    assert "line 1: class 7" in lines[0]
    assert "line 3: x is 1.5" in lines[1]
    assert [each.labels for each in adapter("balf").read(tmp_path)] == [("erythrocyte",)]


def test_balf_that_is_still_packed_is_said(tmp_path: Path) -> None:
    (tmp_path / "balf").mkdir()
    (tmp_path / "balf" / "Images.rar").write_bytes(b"Rar!")
    with pytest.raises(SettingsError, match=r"no images/ with labels/.*unpack"):
        list(adapter("balf").read(tmp_path))


# TXL-PBC

WIDTH, HEIGHT = 640, 480
Box = tuple[int, float, float, float, float]  # kind, centre x, centre y, width, height in px


def placed(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """An image that says where each of its pixels is: x % 256, y % 256, x // 256 + 16 (y // 256)."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x % 256, y % 256, x // 256 + 16 * (y // 256)]).astype(np.uint8)


def place_of(sample: Sample) -> tuple[float, float]:
    """Where in its field of `placed` pixels the centre of a window is."""
    image = sample.image()
    x, y, high = (int(v) for v in image[0, 0])
    centre = sample.centre(image)
    return x + 256 * (high % 16) + centre[0], y + 256 * (high // 16) + centre[1]


@lru_cache
def placed_png(width: int, height: int) -> bytes:
    return encoded(placed(width, height), ".png")


def write_field(root: Path, name: str, boxes: list[Box], split: str = "train", size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A field of `placed` pixels, size (width, height)."""
    width, height = size
    rows = [_row(*box, size) for box in boxes]
    base = root / "txl_pbc"
    labels = "\n".join(rows).encode()
    write_folder({f"images/{split}/{name}.png": placed_png(width, height), f"labels/{split}/{name}.txt": labels}, base)


def _row(kind: int, x: float, y: float, w: float, h: float, size: tuple[int, int]) -> str:
    """A line of labels; of a cell that the border cuts, the part that is in the image."""
    x0, x1 = np.clip([x - w / 2, x + w / 2], 0, size[0]) / size[0]
    y0, y1 = np.clip([y - h / 2, y + h / 2], 0, size[1]) / size[1]
    return f"{kind} {(x0 + x1) / 2:.8f} {(y0 + y1) / 2:.8f} {x1 - x0:.8f} {y1 - y0:.8f}"


def reds(count: int = 8, side: float = 30.0) -> list[Box]:
    return [(RED, 40.0 + 65 * number, 400.0, side, side) for number in range(count)]


def kind_of(sample: Sample) -> str:
    return sample.name.split("/")[1].rstrip("0123456789")


def read(root: Path) -> list[Sample]:
    return [*TxlPbc().read(root), *TxlWhite().read(root)]


def test_txl_white_cells_are_some_leukocyte_and_platelets_are_platelets(tmp_path: Path) -> None:
    boxes = [(WHITE, 150.0, 120.0, 60.0, 64.0), (PLATELET, 420.0, 90.0, 12.0, 10.0), (WHITE, 5.0, 5.0, 40.0, 40.0), *reds()]
    write_field(tmp_path, "one", boxes)
    write_field(tmp_path, "two", boxes, split="val")
    samples = read(tmp_path)
    assert {each.name.split("/")[0] for each in samples} == {"one"}, "only the train folder is read"
    by_kind = {kind_of(each): each for each in samples}
    assert sum(kind_of(each) == "white" for each in samples) == 1, "a cell over the border is no whole cell"
    assert by_kind["white"].labels == LEUKOCYTES
    assert place_of(by_kind["white"]) == pytest.approx((150, 120))
    assert by_kind["platelet"].labels == ("platelet",)
    assert place_of(by_kind["platelet"]) == pytest.approx((420, 90))
    assert by_kind["not_a_cell"].labels == ("not_a_cell",)
    assert len({each.name for each in samples}) == len(samples)


def test_txl_empty_windows_come_from_val_fields_alone(tmp_path: Path) -> None:
    boxes = [(WHITE, 150.0, 120.0, 60.0, 64.0), (PLATELET, 420.0, 90.0, 12.0, 10.0), *reds()]
    write_field(tmp_path, "one", boxes)
    write_field(tmp_path, "two", boxes, split="val")
    samples = list(TxlEmpty().read(tmp_path))
    assert {each.name.split("/")[0] for each in samples} == {"two"}
    assert {each.labels for each in samples} == {("not_a_cell",)}


def test_fields_held_aside_train_nothing() -> None:
    assert not split.load("txl_empty.tsv").keys() & split.load("txl_pbc.tsv").keys()


def test_txl_white_types_name_leukocytes_of_the_training_fields() -> None:
    parts = split.load("txl_pbc.tsv")
    for line in txl_pbc.TYPES.read_text().splitlines():
        name, _, types = line.partition("\t")
        assert set(types.split(",")) <= set(LEUKOCYTES)
        assert name.split("/")[0] in parts


def test_txl_white_cells_carry_the_types_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txl_pbc, "TYPES", tmp_path / "types.tsv")
    (tmp_path / "types.tsv").write_text("one/white0\tlymphocyte,monocyte\n")
    write_field(tmp_path, "one", [(WHITE, 150.0, 120.0, 60.0, 64.0), (WHITE, 350.0, 220.0, 60.0, 64.0), *reds()])
    labels = {each.name: each.labels for each in TxlWhite().read(tmp_path)}
    assert labels == {"one/white0": ("lymphocyte", "monocyte"), "one/white1": LEUKOCYTES}


def test_txl_scale_is_that_of_the_fields_red_cells(tmp_path: Path) -> None:
    """Median of whole red boxes; one that is cut by the border does not count."""
    boxes = [*reds(5, 36.0), (RED, 300.0, 200.0, 90.0, 90.0), (RED, 2.0, 240.0, 4.0, 40.0), (RED, 2.0, 290.0, 4.0, 40.0)]
    write_field(tmp_path, "field", boxes)
    samples = read(tmp_path)
    assert samples
    assert {round(each.scale(), 6) for each in samples} == {round(7.2 / 36, 6)}
    inner = [each for each in samples if 80 < place_of(each)[0] < WIDTH - 80 and 80 < place_of(each)[1] < HEIGHT - 80]
    assert all(each.image().shape == (135, 135, 3) for each in inner), "27 um at 0.2 um a pixel"


def test_txl_without_a_scale_gives_nothing(tmp_path: Path) -> None:
    write_field(tmp_path, "few", [(WHITE, 150.0, 120.0, 60.0, 60.0), *reds(4)])
    write_field(tmp_path, "none", [])
    assert read(tmp_path) == []


@pytest.mark.parametrize("shape", txl_pbc.PBC_SIZES)
def test_txl_gives_no_white_cell_of_a_pbc_image(tmp_path: Path, shape: tuple[int, int]) -> None:
    """It may be one of PBC's own test split."""
    height, width = shape
    boxes = [(WHITE, 180.0, 180.0, 120.0, 120.0), *((RED, 40.0 + 55 * number, 40.0, 50.0, 50.0) for number in range(5))]
    write_field(tmp_path, "field", boxes, size=(width, height))
    kinds = {kind_of(each) for each in read(tmp_path)}
    assert "white" not in kinds
    assert "not_a_cell" in kinds


def test_txl_windows_are_the_same_every_time(tmp_path: Path) -> None:
    write_field(tmp_path, "field", [*reds(), *((PLATELET, 50.0 * n, 60.0, 12.0, 12.0) for n in range(1, 9))])
    first, second = read(tmp_path), read(tmp_path)
    assert [(each.name, each.centre_px) for each in first] == [(each.name, each.centre_px) for each in second]
    assert all(np.array_equal(one.image(), two.image()) for one, two in zip(first, second, strict=True))
    assert sum(kind_of(each) == "platelet" for each in first) == txl_pbc.PLATELETS_A_FIELD


spots = st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT), st.floats(8, 160), st.floats(8, 160))


# No shrinking: with images it takes minutes, and a field is easily read as it is.
@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    whites=st.lists(spots, max_size=4),
    platelets=st.lists(spots, max_size=4),
    others=st.lists(st.tuples(st.floats(20, 620), st.floats(20, 460)), min_size=5, max_size=12),
)
def test_txl_no_empty_window_is_centred_on_a_cell(whites: list[Any], platelets: list[Any], others: list[Any]) -> None:
    boxes: list[Box] = [
        *((WHITE, *spot) for spot in whites),
        *((PLATELET, *spot) for spot in platelets),
        *((RED, x, y, 30.0, 30.0) for x, y in others),
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_field(Path(folder), "field", boxes)
        empty = [each for each in read(Path(folder)) if each.labels == ("not_a_cell",)]
    assert len(empty) <= txl_pbc.NOT_CELLS_A_FIELD
    for sample in empty:
        x, y = place_of(sample)
        assert 0 < x < WIDTH
        assert 0 < y < HEIGHT
        for _, left, top, wide, high in boxes[: len(whites) + len(platelets)]:
            assert abs(x - left) >= wide / 2 or abs(y - top) >= high / 2


def test_txl_squashed_fields_become_square() -> None:
    """A 640x480 field that was squashed to 416x416: across and down shrank by different factors."""
    image = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    centres = [(60 + 100 * number, 200) for number in range(6)]
    for centre in centres:
        cv2.circle(image, centre, 20, (150, 60, 60), -1)
    squashed = cv2.resize(image, (416, 416), interpolation=cv2.INTER_AREA).astype(np.uint8)
    down, across = 416 / HEIGHT, 416 / WIDTH
    boxes = np.array([[(x - 20) * across, (y - 20) * down, (x + 20) * across, (y + 20) * down] for x, y in centres])
    square = square_pixels(Field(name="f", split="train", image=squashed, boxes=boxes, kinds=np.full(6, RED)))
    assert square is not None
    whole, square_boxes, pixel_um = square
    assert whole.shape == (416, 555, 3)
    sides = square_boxes[:, 2:] - square_boxes[:, :2]
    assert sides[:, 0] == pytest.approx(sides[:, 1], rel=0.01)
    assert pixel_um == pytest.approx(7.2 / (40 * down))
    found = cv2.boundingRect((whole[:, :, 1] < 145).astype(np.uint8)[:, : whole.shape[1] // 6])
    assert found[2] == pytest.approx(found[3], abs=2), "the cells in the picture are round again"


def test_txl_other_fields_keep_their_pixels() -> None:
    boxes = np.array([[50.0 * n, 100, 50.0 * n + 20, 130] for n in range(1, 7)])
    field = Field(name="f", split="train", image=placed(), boxes=boxes, kinds=np.full(6, RED))
    square = square_pixels(field)
    assert square is not None
    assert square[0] is field.image
    assert square[2] == pytest.approx(7.2 / np.sqrt(20 * 30))
