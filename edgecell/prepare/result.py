"""What preparing a bundle came to."""

from typing import Literal

import msgspec

from edgecell.engines.trt.plans import Machine, Precision
from edgecell.messages import NOTICE

Verdict = Literal["used", "kept", "refused", "failed"]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One precision.

    encoding: the bundle's file. verdict: `used` by runs; `kept`, but slower; `refused`, since its golden cells differ; or
    `failed`, there is no plan. why, fix: of the last two. note: why it was built, or that it was there already. build_s:
    seconds, null where it failed. p50_ms: median of one inference by batch size, host to host. deviation, tolerance: of the
    golden cells by output.
    """

    precision: Precision
    encoding: str
    verdict: Verdict
    why: str = ""
    fix: str = ""
    note: str
    build_s: float | None = None
    p50_ms: dict[int, float] = {}
    deviation: dict[str, float] = {}
    tolerance: dict[str, float] = {}


class Prepared(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="preparation/1"):
    """A bundle's plans on this machine. built: whether anything was, else all of it was there. cache: where the plans lie."""

    bundle: str
    version: str
    sha256: str
    machine: Machine
    built: bool
    tried: tuple[Tried, ...]
    cache: str
    notice: str = NOTICE

    @property
    def used(self) -> Tried | None:
        """What runs take, None where nothing may be used."""
        return next((each for each in self.tried if each.verdict == "used"), None)
