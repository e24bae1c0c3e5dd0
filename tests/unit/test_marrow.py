"""The ratios of a bone marrow count."""

import numpy as np
import pytest

from edgecell.bundle import CellClass, open_bundle
from edgecell.intervals import together
from edgecell.marrow import ratios


def one(name: str, lineage: str, *, inside: bool = True) -> CellClass:
    group = "erythroid" if lineage == "erythroid" else "leukocyte"
    return CellClass(name=name, abbreviation=name[:3], group=group, lineage=lineage, in_differential=inside)  # type: ignore[arg-type]


CLASSES = {
    each.name: each
    for each in (
        one("blast", "blast"),
        one("myeloblast", "granulocytic blast"),
        one("myelocyte", "granulocytic"),
        one("monocyte", "monocytic"),
        one("erythroblast", "erythroid"),
        one("lymphocyte", "lymphoid"),
        one("smudge", "", inside=False),
    )
}
COUNTS = {"blast": 12, "myeloblast": 3, "myelocyte": 237, "monocyte": 20, "erythroblast": 80, "lymphocyte": 48, "smudge": 90}


def test_lineages_in_the_manifest_say_what_is_what() -> None:
    found = ratios(COUNTS, CLASSES)
    assert (found.myeloid, found.erythroid, found.blasts, found.n) == (240, 80, 15, 400)
    assert found.missing == ()
    assert found.ratio is not None
    assert found.blast_percent is not None
    assert (found.ratio.value, found.blast_percent.value) == (3.0, 3.75)
    low, high = together(15, 400, 2)
    assert (found.blast_percent.low, found.blast_percent.high) == (100 * low, 100 * high)


def test_the_ratio_turned_round_has_its_limits_turned_round() -> None:
    swapped = {**COUNTS, "myeloblast": 0, "myelocyte": 80, "erythroblast": 240}
    one_way, other_way = ratios(COUNTS, CLASSES).ratio, ratios(swapped, CLASSES).ratio
    assert one_way is not None
    assert other_way is not None
    assert one_way.high is not None
    assert other_way.high is not None
    assert (1 / one_way.high, 1 / one_way.low) == pytest.approx((other_way.low, other_way.high))


def test_without_erythroid_cells_there_is_no_ratio_and_with_no_others_it_is_nought() -> None:
    assert ratios({"myelocyte": 5}, CLASSES).ratio is None
    assert "no erythroid cell was counted" in ratios({"myelocyte": 5}, CLASSES).missing[0]
    none = ratios({"erythroblast": 5}, CLASSES).ratio
    assert none is not None
    assert (none.value, none.low) == (0, 0)
    assert none.high is not None
    assert none.high > 0.5


def test_nothing_is_claimed_without_cells() -> None:
    found = ratios({}, CLASSES)
    assert (found.ratio, found.blast_percent, found.n) == (None, None, 0)
    assert len(found.missing) == 2


def test_a_bundle_that_lacks_a_lineage_says_so() -> None:
    classes = {each.name: each for each in open_bundle("marrow7").manifest.classes}
    found = ratios({"blast": 30, "promyelocyte": 30, "lymphocyte": 60}, classes)
    assert found.missing == ("M:E ratio: the bundle has no class that is erythroid",)
    assert found.blast_percent is not None
    assert found.blast_percent.value == 25
    assert ratios({"erythroblast": 3}, {"erythroblast": CLASSES["erythroblast"]}).missing == (
        "M:E ratio: the bundle has no class that is granulocytic",
        "blasts: the bundle has no class that is blast",
    )


@pytest.mark.parametrize("n", [100, 200, 500, 1000])
@pytest.mark.parametrize("shares", [(0.02, 0.68, 0.2, 0.1), (0.3, 0.5, 0.1, 0.1), (0.002, 0.95, 0.008, 0.04)])
def test_both_limits_hold_together(n: int, shares: tuple[float, ...]) -> None:
    """Of 1000 marrows; blasts, myelocytes, erythroblasts, lymphocytes. No ratio is claimed where no erythroid cell was seen."""
    names = ("blast", "myelocyte", "erythroblast", "lymphocyte")
    ratio, percent, held = shares[1] / shares[2], 100 * shares[0], 0
    samples, times = np.unique(np.random.default_rng(n).multinomial(n, shares, size=1000), axis=0, return_counts=True)
    for sample, often in zip(samples.tolist(), times.tolist(), strict=True):
        found = ratios(dict(zip(names, sample, strict=True)), CLASSES)
        assert found.blast_percent is not None
        within = found.blast_percent.low <= percent <= (found.blast_percent.high or 0)
        if found.ratio is not None:
            within &= found.ratio.low <= ratio and (found.ratio.high is None or ratio <= found.ratio.high)
        held += often * within
    assert held / 1000 >= 0.94
