"""The cells of a recipe in memory: windows with masks for training, exact crops for ranges, choices and figures."""

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import split
from calibration.augment import BASE_PX, BASE_UM, base_window
from calibration.datasets import adapter
from calibration.facts import Facts
from calibration.recipe import Data, Recipe
from calibration.sample import Sample
from edgecell.errors import SettingsError
from edgecell.preprocess import Preprocess, cut
from edgecell.segmenters.stain import centre_mask
from edgecell.stain import MOST_CROPS, evened, gain_of, red_densities, restained


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """n cells. allowed: bool (n, classes), the labels that the annotation leaves open. names: `<dataset>/<sample>`."""

    names: tuple[str, ...]
    allowed: NDArray[np.bool_]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Class index of each cell, -1 where the annotation leaves several open."""
        return np.where(self.allowed.sum(axis=1) == 1, self.allowed.argmax(axis=1), -1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingCells(Cells):
    """windows: uint8 (n, BASE_PX, BASE_PX, 3). masks: uint8 0/255 (n, BASE_PX, BASE_PX), all 0 where none was found.

    repeats: int64 (n,), how often an epoch shows each.
    """

    windows: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    repeats: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredCells(Cells):
    """crops: uint8 (n, size_px, size_px, 3), cut as on the device. slides: whose stain and microscope each shares."""

    crops: NDArray[np.uint8]
    slides: tuple[str, ...]

    def seen(self, spec: Preprocess) -> NDArray[np.uint8]:
        """The crops as the device shows them to the network: each slide's stain evened out by its own red cells."""
        out, slides = self.crops.copy(), np.array(self.slides)
        for slide in dict.fromkeys(self.slides):
            out[slides == slide] = evened(self.crops[slides == slide], spec)
        return out


def keep(cells: ScoredCells, chosen: NDArray[np.bool_]) -> ScoredCells:
    """The cells where `chosen` (n,) is true."""
    names, slides = (
        tuple(each for each, wanted in zip(every, chosen.tolist(), strict=True) if wanted)
        for every in (cells.names, cells.slides)
    )
    return ScoredCells(names=names, allowed=cells.allowed[chosen], crops=cells.crops[chosen], slides=slides)


def samples(data: Data, part: split.Part, root: Path, classes: Sequence[str]) -> Iterator[Sample]:
    """The samples of one dataset that its split file puts into `part`, labelled with `classes`; others are passed over.

    Raises SettingsError where the recipe's table of classes names one that there is not.
    """
    source, parts = adapter(data.dataset, data.options), split.load(data.split)
    check_classes(data, source.facts, classes)
    for sample in source.read(root):
        labels = data.labels(sample.labels, classes) if split.part_of(sample, parts) == part else None
        if labels is not None:
            yield replace(sample, labels=labels, pixel_um=data.pixel_um or sample.pixel_um)


def check_classes(data: Data, facts: Facts, classes: Sequence[str]) -> None:
    """Raises SettingsError that names what in the recipe's table is no class of the dataset, or none of the recipe."""
    table = data.classes or {}
    known = (*facts.names, *table) if facts.open_classes else facts.names
    for name, names, whose in ((table.keys(), known, f"dataset {data.dataset}"), (table.values(), classes, "recipe")):
        if unknown := sorted(set(name) - set(names)):
            raise SettingsError(f"data.classes: the {whose} has no class {unknown[0]}", fix=f"one of: {', '.join(names)}")


def scored(spec: Preprocess, classes: Sequence[str], data: Data, part: split.Part, root: Path) -> ScoredCells:
    """Cells of one dataset as the device would cut them."""
    chosen = list(samples(data, part, root, classes))
    crops = np.empty((len(chosen), spec.size_px, spec.size_px, 3), np.uint8)
    for number, sample in enumerate(chosen):
        image = sample.image()
        crops[number] = cut(image, sample.centre(image), sample.scale(), spec.crop_um, spec.size_px)
    slides = tuple(f"{data.dataset}/{sample.slide}" for sample in chosen)
    return ScoredCells(names=_names(data, chosen), allowed=_allowed(classes, chosen), crops=crops, slides=slides)


def training(recipe: Recipe, root: Path, work: Path) -> TrainingCells:
    """All training cells of the recipe. Masks take a minute or two, so they are kept in `work` for the next time.

    Raises SettingsError where a dataset of the recipe is for evaluation only.
    """
    if barred := [data.dataset for data in recipe.data if adapter(data.dataset, data.options).facts.evaluation_only]:
        raise SettingsError(
            f"recipe {recipe.name}: data.dataset names {barred[0]}, which is for evaluation only",
            fix="take it out of the recipe, and score the bundle on it with `python -m calibration evaluate`",
        )
    kept = [(data, list(samples(data, "train", root, recipe.class_names))) for data in recipe.data]
    chosen = [sample for _, some in kept for sample in some]
    if not chosen:
        raise SettingsError(f"no training cell in {root}", fix="check the split files of the recipe against the dataset")
    names = tuple(name for data, some in kept for name in _names(data, some))
    windows, masks = _windows(chosen, work / f"windows-{_key(chosen)}")
    slides = [f"{data.dataset}/{sample.slide}" for data, some in kept for sample in some]
    windows = _evened_windows(windows, slides, recipe.preprocess)
    repeats = np.repeat([data.repeat for data in recipe.data], [len(some) for _, some in kept])
    allowed = _allowed(recipe.class_names, chosen)
    return TrainingCells(names=names, allowed=allowed, windows=windows, masks=masks, repeats=repeats)


def check_taught(recipe: Recipe, cells: TrainingCells) -> None:
    """Raises SettingsError that names a class of the recipe which no training cell may be."""
    untaught = [name for name, some in zip(recipe.class_names, cells.allowed.T, strict=True) if not some.any()]
    if untaught:
        fix = "add cells of it to a dataset, or take the class out of the recipe"
        raise SettingsError(f"no training cell is labelled {untaught[0]}", fix=fix)


def _names(data: Data, chosen: Iterable[Sample]) -> tuple[str, ...]:
    return tuple(f"{data.dataset}/{sample.name}" for sample in chosen)


def _allowed(classes: Sequence[str], chosen: Sequence[Sample]) -> NDArray[np.bool_]:
    return np.array([[name in sample.labels for name in classes] for sample in chosen], bool).reshape(-1, len(classes))


def _key(chosen: Iterable[Sample]) -> str:
    """Of all that windows are made of: the same names may stand for originals or for copies of them."""
    digest = hashlib.sha256(f"{BASE_PX} {BASE_UM}".encode())
    for sample in chosen:
        content = sample.content if isinstance(sample.content, bytes) else sample.content.tobytes()
        digest.update(f"\n{sample.name} {sample.centre_px} {sample.pixel_um} {hashlib.sha256(content).hexdigest()}".encode())
    return digest.hexdigest()[:16]


def _windows(chosen: Sequence[Sample], stem: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    paths = stem.with_suffix(".images.npy"), stem.with_suffix(".masks.npy")
    if not all(path.is_file() for path in paths):
        stem.parent.mkdir(parents=True, exist_ok=True)
        # spawn: a fork would inherit OpenCV's thread pool without its threads, and hang
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            pairs = list(pool.map(_window, chosen, chunksize=64))
        np.save(paths[0], np.stack([window for window, _ in pairs]))
        np.save(paths[1], np.stack([mask for _, mask in pairs]))
    return np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r")


def plain_crops(windows: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.uint8]:
    """What the device would cut out of windows uint8 (n, BASE_PX, BASE_PX, 3): uint8 (n, size_px, size_px, 3)."""
    middle = BASE_PX / 2
    return np.stack([cut(window, (middle, middle), BASE_UM / BASE_PX, spec.crop_um, spec.size_px) for window in windows])


def _evened_windows(windows: NDArray[np.uint8], slides: Sequence[str], spec: Preprocess) -> NDArray[np.uint8]:
    """The windows with each slide's stain evened out by its own red cells, as the device does with its crops."""
    if spec.red_density is None:
        return windows
    out, by_slide = np.empty_like(windows), np.array(slides)
    for slide in dict.fromkeys(slides):
        own = np.flatnonzero(by_slide == slide)
        some = plain_crops(windows[own[:: len(own) // MOST_CROPS + 1]], spec)
        gain = gain_of(red_densities(some, spec), spec)
        for at in own:
            out[at] = restained(windows[at : at + 1], gain)[0]
    return out


def _window(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = sample.image()
    window = base_window(image, sample.centre(image), sample.scale())
    mask = centre_mask(window, BASE_UM / BASE_PX)
    return window, np.zeros(window.shape[:2], np.uint8) if mask is None else mask * np.uint8(255)
