"""The check before every build: no cell that trains is a copy of one that chooses or scores, and every cell is where it was.

It compares all cells of a recipe, and all whole fields of a dataset that cells are cut from: pixels, near-copies (see
`calibration.copies`), names that no split file has, and pixels that are not those that the split file was made of. Where none
of the pixels are those, the dataset is there in another edition (originals instead of copies, say): then they are not compared.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration import copies, split
from calibration.datasets import adapter
from calibration.fingerprint import Fingerprint, Known
from calibration.recipe import Data, Recipe
from edgecell.errors import FrameCorrupt, SettingsError

LOG = logging.getLogger("edgecell.calibration")
ANOTHER_EDITION = 20  # cells at least, of which not one is as it was
SHOWN = 10  # names in an error; the log has them all


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """One image. name: with its dataset in front. given: the pixels' sha256 in the split file, "" if it has none."""

    name: str
    part: split.Part
    given: str
    found: Fingerprint


def check(recipe: Recipe, root: Path, work: Path) -> None:
    """Raises SettingsError that names the cells. Fingerprints are kept in `work` for the next time."""
    known = Known(work / "looks.npz")
    faults: list[str] = []
    plain: list[_Seen] = []
    for data in recipe.data:
        seen = list(_seen(data, recipe, root, known, faults))
        faults += _changed(data, seen)
        facts = adapter(data.dataset, data.options).facts
        if facts.alike == copies.ALIKE:
            plain += seen
        else:
            faults += _shared(seen, facts.alike)
    known.save()
    faults += _shared(plain, copies.ALIKE)
    if faults:
        for fault in faults:
            LOG.error("%s", fault)
        more = f" and {len(faults) - SHOWN} more (see the log)" if len(faults) > SHOWN else ""
        fix = "`python -m calibration split` with the recipe mends its split files: names keep their part, copies are excluded"
        raise SettingsError(f"recipe {recipe.name}: {'; '.join(faults[:SHOWN])}{more}", fix=fix)
    LOG.info("no copies on two sides of the splits of %s", recipe.name)


def _seen(data: Data, recipe: Recipe, root: Path, known: Known, faults: list[str]) -> Iterator[_Seen]:
    parts = split.load(data.split)
    source = adapter(data.dataset, data.options)
    for sample in source.whole(root):
        name = f"{data.dataset}/{sample.name}"
        if sample.labels and data.labels(sample.labels, recipe.class_names) is None:
            continue
        part = split.part_of(sample, parts)
        if part is None:
            if not parts.left_out(sample):
                faults.append(f"{name} is in no part of {data.split}")
            continue
        try:
            found = known.of(sample)
        except FrameCorrupt as error:
            faults.append(str(error))
            continue
        given = parts.hashes.get(sample.name, "")
        yield _Seen(name=name, part=part, given=given, found=found)


def _changed(data: Data, seen: list[_Seen]) -> Iterator[str]:
    """What is not what the split file was made of."""
    listed = [each for each in seen if each.given]
    other = [each for each in listed if each.given != each.found.sha256]
    if len(other) == len(listed) >= ANOTHER_EDITION:
        LOG.warning("%s is another edition than %s was made of: its pixels are not compared with it", data.dataset, data.split)
        return
    yield from (f"{each.name} is not the image that {data.split} was made of" for each in other)


def _shared(seen: list[_Seen], alike: float) -> Iterator[str]:
    """Images of two parts that are the same, or nearly."""
    if not seen:
        return
    groups: dict[int, list[_Seen]] = defaultdict(list)
    for group, each in zip(together([each.found for each in seen], alike), seen, strict=True):
        groups[group].append(each)
    for some in groups.values():
        if len({each.part for each in some}) > 1:
            yield "copies in two parts: " + ", ".join(sorted({f"{each.name} ({each.part})" for each in some}))


def together(found: Sequence[Fingerprint], alike: float) -> list[int]:
    """Group of each: near-copies, and what is identical though it has no contrast."""
    if not found:
        return []
    groups = copies.groups(np.stack([each.look for each in found]), alike).tolist()
    first: dict[str, int] = {}
    return [first.setdefault(each.sha256, group) for each, group in zip(found, groups, strict=True)]
