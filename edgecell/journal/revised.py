"""The machine's counts with what people said of its cells. Pure: values in, values out.

Every cell that was reviewed moves from where the machine counted it to where the person does, and none comes or goes: what is
rejected is excluded, so that the totals add up to the same number of cells.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.journal.events import Reviewed
from edgecell.messages import Exclusion, Tally

UNSURE = "unsure"
"""In place of a label: no class can be named. Such a cell counts as those that the machine was unsure of."""

Name = TypeVar("Name", bound=str)
Bin = tuple[Literal["counts", "unsure", "excluded"], str]
"""Where a cell is counted: under a label, as unsure (""), or as excluded for a reason."""


def revised(machine: Tally, reviews: Iterable[Reviewed], classes: Mapping[str, CellClass]) -> Tally:
    """The tally as reviewed. reviews: what stands, one for each cell reviewed, no undo among them.

    Raises ValueError where they take more cells from somewhere than the machine had counted there.
    """
    moves = Counter[Bin]()
    for review in reviews:
        moves[machine_bin(review.machine_label, review.machine_decided, classes)] -= 1
        moves[reviewed_bin(review, classes)] += 1
    counts, excluded = Counter(machine.counts), Counter[Exclusion](machine.excluded)
    for (where, name), change in moves.items():
        if where == "counts":
            counts[name] += change
        elif where == "excluded":
            excluded["rejected"] += change
    unsure = machine.unsure + moves["unsure", ""]
    if min([unsure, *counts.values()]) < 0:
        raise ValueError("the reviews are of other cells than those that the machine counted")
    return replace(machine, counts=_some(counts), unsure=unsure, excluded=_some(excluded))


def machine_bin(label: str, decided: bool, classes: Mapping[str, CellClass]) -> Bin:
    """Where the machine counts a cell that it did not exclude."""
    name = tally.counted_as(label, decided, classes)
    return ("counts", name) if name else ("unsure", "")


def reviewed_bin(review: Reviewed, classes: Mapping[str, CellClass]) -> Bin:
    """Where the person counts it."""
    if review.action == "reject":
        return "excluded", "rejected"
    label = reviewed_label(review)
    return machine_bin(label, label != UNSURE or UNSURE in classes, classes)


def reviewed_label(review: Reviewed) -> str:
    """What the person calls the cell: a label, or UNSURE; "" for one that is rejected."""
    return {"relabel": review.label, "confirm": review.machine_label}.get(review.action, "")


def _some(counts: Mapping[Name, int]) -> dict[Name, int]:
    return {name: count for name, count in counts.items() if count}
