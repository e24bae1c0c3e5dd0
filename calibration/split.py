"""Which cell trains, which chooses, which is scored: a committed file of names, made once, before the first training."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from calibration.fingerprint import pixels_sha256
from calibration.sample import Sample
from edgecell.errors import SettingsError

Part = Literal["train", "val", "test"]
Scope = Literal["train", "val", "test", "all"]
"""A part of a split, or everything there is."""
Assigned = Literal["train", "val", "test", "excluded"]
EXCLUDED, OWN, ALL = "excluded", "own", "*"
SHARES: Mapping[Part, float] = {"train": 0.70, "val": 0.12, "test": 0.18}
PARTS: tuple[Assigned, ...] = (*SHARES, "excluded")
_LINE = re.compile(r"(?P<part>train|val|test|excluded)\t(?P<name>[^\t]+)(?:\t(?P<sha256>[0-9a-f]{64}))?")
FOLDER = Path(__file__).parent / "splits"


class Parts(dict[str, Assigned]):
    """name -> part, as a split file has it. hashes: name -> sha256 of the pixels, where the file has it. own: all cells that it
    does not name are where the dataset's own split has them; one that it excludes is then known by its pixels as well, since
    another edition of the dataset gives the name to another cell.
    """

    def __init__(self, parts: Mapping[str, Assigned], hashes: Mapping[str, str], *, own: bool = False) -> None:
        super().__init__(parts)
        self.hashes, self.own = dict(hashes), own

    def left_out(self, sample: Sample) -> bool:
        """Whether the file excludes it."""
        name = sample.name if sample.name in self else sample.name.split("/")[0]
        if self.get(name) != EXCLUDED:
            return False
        return not self.own or self.hashes.get(name, "") in {"", pixels_sha256(sample.image())}


def make(samples: Iterable[Sample], seed: int, same: Mapping[str, str] = MappingProxyType({})) -> dict[str, Part]:
    """name -> part, by class, pixel-identical images on the same side, and those that `same` (name -> group) has together.

    An image that stands in two classes is in no part: one of its two labels is wrong and nobody knows which.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[_copy(sample, same)].append(sample)
    by_class: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for group in groups.values():
        if len({sample.labels for sample in group}) == 1:
            by_class[group[0].labels].append([sample.name for sample in group])
    rng = np.random.default_rng(seed)
    return {name: part for some in by_class.values() for name, part in _deal(some, rng)}


def _copy(sample: Sample, same: Mapping[str, str]) -> str:
    """What copies of a cell, or of the field that it was cut from, share."""
    return same.get(sample.name) or same.get(sample.name.split("/")[0]) or pixels_sha256(sample.image())


def _deal(groups: list[list[str]], rng: np.random.Generator) -> Iterable[tuple[str, Part]]:
    order = rng.permutation(len(groups))
    edges = np.cumsum(list(SHARES.values())) * len(groups)
    for rank, index in enumerate(order):
        part = list(SHARES)[min(int(np.searchsorted(edges, rank, side="right")), len(SHARES) - 1)]
        yield from ((name, part) for name in groups[index])


def make_grouped(
    samples: Iterable[Sample], seed: int, key: Callable[[Sample], str], same: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Part]:
    """name -> part, all cells of one `key` (a field, a slide, a patient) on the same side, and keys that share an image.

    The groups are dealt from the largest on, equal ones in random order, each to the part whose classes lack most of their
    share; so each part gets some while there are groups, and the large ones train.
    """
    groups: dict[str, list[Sample]] = {}
    home: dict[str, str] = {}  # key, or digest of an image -> group that it belongs to
    for sample in samples:
        names = {key(sample), _copy(sample, same)}
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


def settle(parts: Mapping[str, Part], old: Mapping[str, Assigned], same: Mapping[str, str]) -> dict[str, Assigned]:
    """A new split that leaves every name of `old` where it was, but for copies on two sides: of those the ones nearest to
    training are excluded. Names of `same` that have no part are excluded as well.
    """
    settled: dict[str, Assigned] = {**dict.fromkeys(same, "excluded"), **parts, **old}
    together: dict[str, list[str]] = defaultdict(list)
    for name, group in same.items():
        together[group].append(name)
    for names in together.values():
        fixed = {settled[name] for name in names if name in old} - {EXCLUDED}
        if len(fixed) == 1:  # new copies go where the old one is
            settled |= {name: each for each in fixed for name in names if name not in old and settled[name] != EXCLUDED}
        there = [part for part in SHARES if part in {settled[name] for name in names}]
        settled |= {name: "excluded" for name in names if settled[name] in there[:-1]}
    return settled


def save(
    parts: Mapping[str, Assigned], path: Path, hashes: Mapping[str, str] = MappingProxyType({}), own: bool = False
) -> None:
    """One line a name, `part<TAB>name<TAB>sha256 of the pixels`, sorted by name; before them `own<TAB>*` for a dataset with a
    split of its own, of which only what is excluded has a line."""
    lines = [f"{part}\t{name}" + (f"\t{hashes[name]}" if name in hashes else "") for name, part in sorted(parts.items())]
    path.write_text("".join(f"{line}\n" for line in [f"{OWN}\t{ALL}"] * own + lines))


def load(file: str) -> Parts:
    """Reads a file of calibration/splits, or one with a whole path. Raises SettingsError that names file and line."""
    parts: dict[str, Assigned] = {}
    hashes: dict[str, str] = {}
    path = FOLDER / file
    if not path.is_file():
        raise SettingsError(
            f"no split file {path}", fix="make it once, before the first training: `python -m calibration split --help`"
        )
    lines = path.read_text().splitlines()
    own = lines[:1] == [f"{OWN}\t{ALL}"]
    for number, line in enumerate(lines[own:], 1 + own):
        found = _LINE.fullmatch(line)
        if found is None or found["name"] in parts:
            fix = "one `train|val|test|excluded<TAB>name<TAB>sha256` a line, no name twice"
            raise SettingsError(f"{path}, line {number}: {line!r}", fix=fix)
        parts[found["name"]] = next(part for part in PARTS if part == found["part"])
        if found["sha256"]:
            hashes[found["name"]] = found["sha256"]
    return Parts(parts, hashes, own=own)


def shown(file: str) -> str:
    """A split file in words for the manifest: no folder of this machine."""
    return Path(file).name if Path(file).is_absolute() else f"calibration/splits/{file}"


def part_of(sample: Sample, parts: Mapping[str, Assigned]) -> Part | None:
    """Where a sample belongs, by its own name or by the field it was cut from; None for one that the split leaves out."""
    word: str | None = parts.get(sample.name) or parts.get(sample.name.split("/")[0])
    if isinstance(parts, Parts) and parts.own:
        word = None if parts.left_out(sample) else sample.part
    return next((part for part in SHARES if part == word), None)
