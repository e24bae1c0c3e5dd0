"""Near-copies among cells, in any orientation, and the check of them before a build."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_datasets import drawn_cell
from numpy.typing import NDArray
from toy_cells import encoded, pbc_files, toy_recipe, write_folder

from calibration import copies, leaks, split
from calibration.datasets import adapter
from calibration.fingerprint import Known, fingerprint, pixels_sha256
from calibration.recipe import Recipe
from calibration.sample import Sample, decode
from edgecell.errors import FrameCorrupt, SettingsError

Image = NDArray[np.uint8]


def cell(seed: int) -> Image:
    return drawn_cell("lymphocyte", seed, 120, 0.2)


def looks(images: list[Image]) -> copies.Coarse:
    return np.stack([copies.coarse(image) for image in images])


def recoloured(image: Image) -> Image:
    return np.asarray(np.clip(image * np.array([1.0, 0.8, 0.9]) + 8, 0, 255), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "turned": lambda image: np.rot90(image).copy(),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "turned and mirrored": lambda image: np.rot90(image, 3)[:, ::-1].copy(),
    "recoloured": recoloured,
    "compressed": lambda image: decode(encoded(image), "x"),
    "squashed": lambda image: cv2.resize(image, (120, 90)).astype(np.uint8),
    "larger": lambda image: cv2.resize(image, (200, 200)).astype(np.uint8),
    "all of it": lambda image: decode(encoded(recoloured(np.rot90(image, 2)[:, ::-1])), "x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    images = [cell(seed) for seed in range(40)]
    assert list(copies.pairs(looks([*images, CHANGES[change](images[7])]))) in ([(7, 40)], [(40, 7)])


def test_cells_of_one_class_are_no_copies_and_blank_pictures_are_nobodys() -> None:
    blank = np.full((60, 60, 3), 230, np.uint8)
    assert list(copies.pairs(looks([*(cell(seed) for seed in range(60)), blank, blank]))) == []


def test_sorting_and_projecting_loses_no_pair() -> None:
    """Against every pair in all eight orientations, at a low limit where many are alike; more than one block of them."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (700, copies.SIDE, copies.SIDE), dtype=np.uint8)
    second = np.rot90(np.clip(first + rng.normal(0, rng.uniform(0, 90, 700)[:, None, None], first.shape), 0, 255), axes=(1, 2))
    pictures = np.concatenate([first, second.astype(np.uint8)])
    unit = copies._unit(pictures)
    flat = unit.reshape(len(unit), -1)
    turned = [np.rot90(each, k, axes=(1, 2)) for each in (unit, unit[:, :, ::-1]) for k in range(4)]
    likeness = np.max([flat @ each.reshape(len(unit), -1).T for each in turned], axis=0)
    expected = {tuple(pair) for pair in np.argwhere(np.triu(likeness >= 0.9, 1)).tolist()}
    found = {(min(pair), max(pair)) for pair in copies.pairs(pictures, 0.9)}
    assert len(expected) > 100
    assert found == expected


def test_copies_of_copies_are_one_group() -> None:
    images = [cell(0), cell(1), CHANGES["turned"](cell(0)), CHANGES["compressed"](cell(0)), cell(2)]
    assert copies.groups(looks(images)).tolist() == [0, 1, 0, 0, 4]


def test_fingerprints_are_kept_and_follow_the_content(tmp_path: Path) -> None:
    one = Sample(name="a", labels=("x",), content=encoded(cell(0)), pixel_um=None)
    other = Sample(name="a", labels=("x",), content=cell(1), pixel_um=None)
    known = Known(tmp_path / "kept.npz")
    first, second = known.of(one), known.of(other)
    assert second.sha256 == pixels_sha256(cell(1)) != first.sha256
    assert (first.size, first.sha256) == ((120, 120), fingerprint(one).sha256)
    known.save()
    again = Known(tmp_path / "kept.npz").of(one)
    assert (again.sha256, again.size) == (first.sha256, first.size)
    assert np.array_equal(again.look, first.look)


def test_half_an_image_has_no_fingerprint() -> None:
    with pytest.raises(FrameCorrupt, match=r"ne\.jpg: is a truncated JPEG"):
        fingerprint(Sample(name="ne.jpg", labels=("x",), content=encoded(cell(0))[:-100], pixel_um=None))


# The check before a build


def made(root: Path) -> tuple[Recipe, dict[str, bytes]]:
    """A set of three classes with a split file as the command makes it."""
    files = pbc_files(12)
    write_folder(files, root / "pbc")
    parts = split.make(adapter("pbc").read(root), 1)
    hashes = {each.name: fingerprint(each).sha256 for each in adapter("pbc").whole(root)}
    split.save(parts, root / "toy.tsv", hashes)
    return toy_recipe(root / "toy.toml", root / "toy.tsv"), files


def first_of(root: Path, part: split.Part) -> str:
    return min(name for name, where in split.load(str(root / "toy.tsv")).items() if where == part)


def test_a_clean_set_passes_and_is_fast_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _ = made(tmp_path)
    leaks.check(recipe, tmp_path, tmp_path / "work")
    monkeypatch.setattr("calibration.fingerprint.fingerprint", None)
    leaks.check(recipe, tmp_path, tmp_path / "work")


@pytest.mark.parametrize("change", ["none", "turned", "all of it"])
def test_a_copy_on_two_sides_stops_the_build_by_name(change: str, tmp_path: Path) -> None:
    recipe, files = made(tmp_path)
    train, test = first_of(tmp_path, "train"), first_of(tmp_path, "test")
    image = decode(files[test], test)
    (tmp_path / "pbc" / train).write_bytes(files[test] if change == "none" else encoded(CHANGES[change](image)))
    with pytest.raises(SettingsError) as caught:
        leaks.check(recipe, tmp_path, tmp_path / "work")
    assert f"copies in two parts: pbc/{min(train, test)} (" in str(caught.value)
    assert f"pbc/{test} (test)" in str(caught.value)
    assert f"pbc/{train} (train)" in str(caught.value)
    assert f"pbc/{train} is not the image that" in str(caught.value)


def test_a_name_without_a_part_and_half_an_image_stop_the_build(tmp_path: Path) -> None:
    recipe, files = made(tmp_path)
    (tmp_path / "pbc" / "neutrophil" / "NEW_1.jpg").write_bytes(encoded(cell(99)))
    broken = first_of(tmp_path, "val")
    (tmp_path / "pbc" / broken).write_bytes(files[broken][:-50])
    with pytest.raises(SettingsError, match=r"NEW_1\.jpg is in no part") as caught:
        leaks.check(recipe, tmp_path, tmp_path / "work")
    assert f"{broken}: is a truncated JPEG" in str(caught.value)


def test_excluded_cells_may_be_copies_and_are_never_used(tmp_path: Path) -> None:
    recipe, files = made(tmp_path)
    train, test = first_of(tmp_path, "train"), first_of(tmp_path, "test")
    (tmp_path / "pbc" / train).write_bytes(files[test])
    old = split.load(str(tmp_path / "toy.tsv"))
    split.save({**old, train: "excluded"}, tmp_path / "toy.tsv", old.hashes)
    leaks.check(recipe, tmp_path, tmp_path / "work")
    parts = split.load(str(tmp_path / "toy.tsv"))
    assert {split.part_of(each, parts) for each in adapter("pbc").read(tmp_path) if each.name == train} == {None}


def test_another_edition_of_all_images_is_compared_with_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe, files = made(tmp_path)
    for name, content in files.items():
        (tmp_path / "pbc" / name).write_bytes(encoded(recoloured(decode(content, name))))
    leaks.check(recipe, tmp_path, tmp_path / "work")
    assert "pbc is another edition" in caplog.text
