"""What a comparison of two engines, A and B, says."""

import msgspec

from edgecell.messages import NOTICE


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two. encoding: the bundle's file that it runs. engine: in its own words."""

    encoding: str
    engine: str


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """Of one output: the largest difference of any number (infinite, in JSON null, where one side gives none), the cell or
    field that it is in, and the standard deviation of B's numbers, to judge it by."""

    largest: float
    where: str
    spread: float


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of one class, as their folder says, and how many of them each side calls so."""

    cells: int
    right_a: int
    right_b: int


class OfClass(msgspec.Struct, frozen=True, kw_only=True):
    """Cells that B gives a class, and how many of them A does."""

    cells: int
    agree: int


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with two labels, and its largest difference in logits."""

    where: str
    a: str
    b: str
    deviation: float


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """Cells by which side is sure enough to count them."""

    both: int
    only_a: int
    only_b: int
    neither: int


class CellsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A classifier's answers. agree: cells with the same top class. agreement: their share, 0-1. differing: the largest
    differences first."""

    cells: int
    unreadable: int
    agree: int
    agreement: float
    by_class: dict[str, OfClass]
    labelled: dict[str, Labelled]
    decided: Decided
    deviation: dict[str, Deviation]
    differing: tuple[Differing, ...]


class MapCompared(msgspec.Struct, frozen=True, kw_only=True):
    """same_sign: share of the numbers of a map of logits that say the same, yes or no; null for other maps."""

    same_sign: float | None
    deviation: Deviation


class FoundCompared(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of one kind by who found them."""

    both: int
    only_a: int
    only_b: int


class FieldsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A segmenter's answers. agreement: of all cells that either found, the share that both did, 0-1; 1 where there was none.
    maps: of golden fields only, whose size and scale are the model's."""

    fields: int
    unreadable: int
    agreement: float
    found: dict[str, FoundCompared]
    maps: dict[str, MapCompared]


Compared = CellsCompared | FieldsCompared


class Verification(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="verification/1"):
    """golden: on the bundle's golden cells or fields. data: on the images of a folder, null without one."""

    bundle: str
    version: str
    sha256: str
    a: Side
    b: Side
    golden: Compared
    data: Compared | None
    notice: str = NOTICE
