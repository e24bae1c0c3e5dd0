"""The cells that a bundle is scored on: a dataset in the layout of its adapter, whole or one part of a split of it.

Labels go from the dataset's classes to the bundle's by what the bundle says: its manifest, or the committed recipe of its
name. What has no counterpart there is passed over and counted: a score on some classes must not pass for one on all of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration import recipe, split
from calibration.adapter import Fault
from calibration.cells import ScoredCells, check_classes
from calibration.datasets import adapter
from calibration.recipe import Data
from calibration.sample import Sample
from edgecell.bundle import Bundle, sha256_of
from edgecell.errors import SettingsError
from edgecell.preprocess import Preprocess, cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to score on. root: the folder of the dataset. data: how the bundle reads it. classes: of the bundle, in order."""

    root: Path
    data: Data
    part: split.Scope
    classes: tuple[str, ...]

    @property
    def split_file(self) -> Path | None:
        """None where there is none."""
        path = split.FOLDER / self.data.split
        return path if path.is_file() else None

    def listed(self) -> split.Parts:
        """What the split puts where; nothing without a split. Raises SettingsError where a part of one is in question."""
        if self.split_file is None and self.part != "all":
            fix = "score every cell with --part all, or name a file with --split"
            raise SettingsError(f"no split file {split.FOLDER / self.data.split}, so there is no part {self.part}", fix=fix)
        return split.load(self.data.split) if self.split_file else split.Parts({}, {})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """cells: what is scored, with the crops of the device. names_sha256: of the sorted names of `cells`.

    unknown: the dataset's classes that the bundle has not -> cells passed over (of a cell with several labels, the first).
    open: cells whose annotation leaves several classes open: they are shown, and not scored. parts: where a split puts `cells`.
    """

    question: Question
    cells: ScoredCells
    unknown: Mapping[str, int]
    parts: Mapping[str, int]
    faults: Mapping[str, int]

    @property
    def open(self) -> int:
        return int((self.cells.truth < 0).sum())

    @property
    def names_sha256(self) -> str:
        return hashlib.sha256("\n".join(sorted(self.cells.names)).encode()).hexdigest()

    def summary(self) -> dict[str, object]:
        """As plain values."""
        file = self.question.split_file
        return {
            "dataset": self.question.data.dataset,
            "part": self.question.part,
            "split": file and {"file": file.name, "sha256": sha256_of(file)},
            "names_sha256": self.names_sha256,
            "map": self.question.data.classes,
            "scored": len(self.cells.names) - self.open,
            "several_labels": self.open,
            "unknown_classes": self.unknown,
            "faults": self.faults,
            "parts": self.parts,
        }

    def __str__(self) -> str:
        unknown, parts = _listed(self.unknown), _listed(self.parts)
        file = self.question.split_file
        lines = [
            f"{self.question.data.dataset}, {self.question.part}: {len(self.cells.names) - self.open} cells scored",
            f"  split            {f'{file.name}, sha256 {sha256_of(file)}' if file else 'none: every cell of the folder'}",
            *([f"  of the parts     {parts}"] if parts and self.question.part == "all" else []),
            *(
                [f"  passed over      {sum(self.unknown.values())} of classes that the bundle has not: {unknown}"]
                if unknown
                else []
            ),
            *([f"  faulty           {_listed(self.faults)}; see `python -m calibration inspect`"] if self.faults else []),
            *([f"  not scored       {self.open} whose labels leave several classes open"] if self.open else []),
        ]
        return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def how_read(bundle: Bundle, dataset: str, file: Path | None, own: Mapping[str, str], pixel_um: float | None) -> Data:
    """How a bundle reads a dataset: by `file` if there is one, else by its manifest, else by the committed recipe of its name.

    own: class of the dataset -> of the bundle ("" for none), over what those say. pixel_um: in place of the dataset's.
    Raises SettingsError that names what is no class.
    """
    name = bundle.manifest.name
    data = recipe.data_for(name, dataset, file)
    told = next((each.classes for each in bundle.manifest.provenance.datasets if each.name == dataset), None)
    if told is not None and file is None:
        data = msgspec.structs.replace(data, classes=dict(told))
    if own:
        facts = adapter(dataset, data.options).facts
        before = {each: each for each in facts.names if each in bundle.class_names} if data.classes is None else data.classes
        strangers = sorted(set(own) - set(facts.names))
        if strangers and not facts.open_classes:
            raise SettingsError(f"--map: {dataset} has no class {strangers[0]}", fix=f"one of: {', '.join(facts.names)}")
        data = msgspec.structs.replace(data, classes={own: of for own, of in {**before, **own}.items() if of})
    return data if pixel_um is None else msgspec.structs.replace(data, pixel_um=pixel_um)


def samples(question: Question, unknown: Counter[str] | None = None, faults: Counter[str] | None = None) -> Iterator[Sample]:
    """The cells in question with the bundle's labels, one at a time. unknown, faults: count what is passed over.

    Raises SettingsError where the dataset or its split is not there, or the table of classes names one that there is not.
    """
    data, source = question.data, adapter(question.data.dataset, question.data.options)
    check_classes(data, source.facts, question.classes)
    wanted = None if question.part == "all" else question.listed()
    for sample in source.scan(question.root):
        if isinstance(sample, Fault):
            if faults is not None and sample.kind != "junk":
                faults[sample.kind] += 1
            continue
        if wanted is not None and split.part_of(sample, wanted) != question.part:
            continue
        labels = data.labels(sample.labels, question.classes)
        if labels is not None:
            yield replace(sample, labels=labels, pixel_um=data.pixel_um or sample.pixel_um)
        elif unknown is not None:
            unknown[sample.labels[0]] += 1


def read(question: Question, spec: Preprocess) -> Labelled:
    """All cells in question, cut as on the device. Raises SettingsError when there is none."""
    unknown: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    listed = question.listed()
    taken: list[Sample] = []
    crops: list[NDArray[np.uint8]] = []
    faults: Counter[str] = Counter()
    for sample in samples(question, unknown, faults):
        crops.append(cut_of(sample, spec))
        taken.append(replace(sample, content=b""))  # a crop is kept, not the image
        parts[split.part_of(sample, listed) or "in no part"] += 1
    if not any(len(sample.labels) == 1 for sample in taken):
        data = question.data
        has = _listed(unknown) or "no cell of another class either"
        fix = "say what they are to the bundle with --map own=bundle, or choose another part"
        raise SettingsError(
            f"no cell of {data.dataset}, {question.part}, has one label that the bundle knows: there is {has}", fix=fix
        )
    cells = scored_cells(taken, np.stack(crops), question)
    where = dict(parts) if listed else {}
    return Labelled(question=question, cells=cells, unknown=dict(unknown), parts=where, faults=dict(faults))


def scored_cells(taken: Sequence[Sample], crops: NDArray[np.uint8], question: Question) -> ScoredCells:
    """Samples with the bundle's labels, and their crops."""
    dataset = question.data.dataset
    return ScoredCells(
        names=tuple(f"{dataset}/{sample.name}" for sample in taken),
        allowed=np.array([[name in sample.labels for name in question.classes] for sample in taken], bool),
        crops=crops,
        slides=tuple(f"{dataset}/{sample.slide}" for sample in taken),
    )


def cut_of(sample: Sample, spec: Preprocess) -> NDArray[np.uint8]:
    """uint8 (size_px, size_px, 3), as the device would cut it."""
    image = sample.image()
    return cut(image, sample.centre(image), sample.scale(), spec.crop_um, spec.size_px)
