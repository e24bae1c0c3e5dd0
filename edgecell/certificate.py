"""The certificate of a bundle: what was measured and with what, the limits it had to meet, the manifest that this is true of.

`certificate.json` lies beside `manifest.json`, and the two hold each other: the manifest lists the sha256 of every file, the
certificate's among them, and the certificate repeats the whole manifest but for that one entry. So a file, a threshold, a
figure or a certificate that was exchanged alone does not fit any more. Whoever exchanges everything can write a bundle of their
own; only a signature tells that one from the workshop's (see edgecell.signature).
"""

from typing import Literal

import msgspec

Bound = Literal["at least", "at most"]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured number. value: None is "not enough cells to say". n: cells, or None where it counts no cells.

    low, high: its 95 % interval, or None.
    """

    value: float | None
    n: int | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        value = "insufficient" if self.value is None else f"{self.value:.5g}"
        interval = "" if self.low is None or self.high is None else f", 95 % {self.low:.4g}-{self.high:.4g}"
        return value if self.n is None else f"{value} (n {self.n}{interval})"


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit that was set and met. figure: its name. value: that figure's. margin: how far inside the limit."""

    figure: str
    bound: Bound
    limit: float
    value: float
    margin: float


def margin_of(bound: Bound, limit: float, value: float) -> float:
    """How far `value` is inside the limit; negative is how far it misses."""
    return value - limit if bound == "at least" else limit - value
