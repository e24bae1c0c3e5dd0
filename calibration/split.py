"""Which cell trains, which chooses, which is scored: a committed file of names, made once, before the first training."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.sample import Sample
from edgecell.errors import SettingsError

Part = Literal["train", "val", "test"]
Scope = Literal["train", "val", "test", "all"]
"""A part of a split, or everything there is."""
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


def make_grouped(samples: Iterable[Sample], seed: int, key: Callable[[Sample], str]) -> dict[str, Part]:
    """name -> part, all cells of one `key` (a field, a slide, a patient) on the same side, and keys that share an image.

    The groups are dealt from the largest on, equal ones in random order, each to the part whose classes lack most of their
    share; so each part gets some while there are groups, and the large ones train.
    """
    groups: dict[str, list[Sample]] = {}
    home: dict[str, str] = {}  # key, or digest of an image -> group that it belongs to
    for sample in samples:
        names = {key(sample), hashlib.sha256(sample.image().tobytes()).hexdigest()}
        first, *others = dict.fromkeys(home[name] for name in sorted(names) if name in home) or [key(sample)]
        merged = [*groups.setdefault(first, []), *(each for other in others for each in groups.pop(other)), sample]
        groups[first] = merged
        home |= {name: first for name, where in home.items() if where in others}
        home |= dict.fromkeys(names, first)
    total = Counter(sample.labels for some in groups.values() for sample in some)
    missing = {part: {labels: share * count for labels, count in total.items()} for part, share in SHARES.items()}
    ordered = [groups[name] for name in sorted(groups)]
    order = np.random.default_rng(seed).permutation(len(ordered)).tolist()
    parts: dict[str, Part] = {}
    for at in sorted(order, key=lambda at: -len(ordered[at])):
        found = Counter(sample.labels for sample in ordered[at])
        lack = {part: sum(found[each] * missing[part][each] / SHARES[part] / total[each] for each in found) for part in SHARES}
        part = max(SHARES, key=lambda part: round(lack[part], 9))  # rounded: at first all parts lack alike
        for each, count in found.items():
            missing[part][each] -= count
        parts |= {sample.name: part for sample in ordered[at]}
    return parts


def save(parts: Mapping[str, Part], path: Path) -> None:
    """One line a name, `part<TAB>name`, sorted by name."""
    path.write_text("".join(f"{part}\t{name}\n" for name, part in sorted(parts.items())))


def load(file: str) -> dict[str, Part]:
    """Reads a file of calibration/splits, or one with a whole path. Raises SettingsError that names file and line."""
    parts: dict[str, Part] = {}
    path = FOLDER / file
    if not path.is_file():
        raise SettingsError(
            f"no split file {path}", fix="make it once, before the first training: `python -m calibration split --help`"
        )
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, _, name = line.partition("\t")
        part = next((part for part in SHARES if part == word), None)
        if part is None or not name or name in parts:
            raise SettingsError(f"{path}, line {number}: {line!r}", fix="one `train|val|test<TAB>name` a line, no name twice")
        parts[name] = part
    return parts


def shown(file: str) -> str:
    """A split file in words for the manifest: no folder of this machine."""
    return Path(file).name if Path(file).is_absolute() else f"calibration/splits/{file}"


def part_of(sample: Sample, parts: Mapping[str, Part]) -> Part | None:
    """Where a sample belongs, by its own name or by the field it was cut from; None for one that the split leaves out."""
    return parts.get(sample.name) or parts.get(sample.name.split("/")[0])
