"""Which cell trains, which chooses, which is scored: a committed file of names, made once, before the first training."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.sample import Sample
from edgecell.errors import SettingsError

Part = Literal["train", "val", "test"]
SHARES: Mapping[Part, float] = {"train": 0.70, "val": 0.12, "test": 0.18}
FOLDER = Path(__file__).parent / "splits"


def make(samples: Iterable[Sample], seed: int) -> dict[str, Part]:
    """name -> part, by class, pixel-identical images on the same side.

    An image that stands in two classes is in no part: one of its two labels is wrong and nobody knows which.
    """
    same: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        same[hashlib.sha256(sample.image().tobytes()).hexdigest()].append(sample)
    by_class: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for group in same.values():
        if len({sample.labels for sample in group}) == 1:
            by_class[group[0].labels].append([sample.name for sample in group])
    rng = np.random.default_rng(seed)
    return {name: part for groups in by_class.values() for name, part in _deal(groups, rng)}


def _deal(groups: list[list[str]], rng: np.random.Generator) -> Iterable[tuple[str, Part]]:
    order = rng.permutation(len(groups))
    edges = np.cumsum(list(SHARES.values())) * len(groups)
    for rank, index in enumerate(order):
        part = list(SHARES)[min(int(np.searchsorted(edges, rank, side="right")), len(SHARES) - 1)]
        yield from ((name, part) for name in groups[index])


def save(parts: Mapping[str, Part], path: Path) -> None:
    """One line a name, `part<TAB>name`, sorted by name."""
    path.write_text("".join(f"{part}\t{name}\n" for name, part in sorted(parts.items())))


def load(file: str) -> dict[str, Part]:
    """Reads a file of calibration/splits. Raises SettingsError that names file and line."""
    parts: dict[str, Part] = {}
    path = FOLDER / file
    if not path.is_file():
        raise SettingsError(f"no split file {path}", fix="make it once with `python -m calibration split`, and commit it")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, _, name = line.partition("\t")
        part = next((part for part in SHARES if part == word), None)
        if part is None or not name or name in parts:
            raise SettingsError(f"{path}, line {number}: {line!r}", fix="one `train|val|test<TAB>name` a line, no name twice")
        parts[name] = part
    return parts


def part_of(sample: Sample, parts: Mapping[str, Part]) -> Part | None:
    """Where a sample belongs, by its own name or by the field it was cut from; None for one that the split leaves out."""
    return parts.get(sample.name) or parts.get(sample.name.split("/")[0])
