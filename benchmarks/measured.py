"""What one run of all benchmarks found, and how that stands to what was wanted of edgecell."""

from collections.abc import Iterator
from typing import Any

import msgspec

from benchmarks.end_to_end import Figures
from benchmarks.growth import Growth
from benchmarks.peers import EDGECELL
from benchmarks.resolution import Curve
from benchmarks.soak import Outcome as Soak
from benchmarks.stages import Stages
from benchmarks.start import Start
from benchmarks.throughput import Throughput
from edgecell.bench import Spread
from edgecell.messages import NOTICE

FLAT = 1.05
"""Memory of the last tenth of a run over that of the first, at most."""


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """edgecell and the naive pipeline, frame by frame: see `naive.summary`."""

    frames: int
    threads: dict[str, int]
    pixel_um: float
    nucleated_per_frame: dict[str, float]
    ms: dict[str, Spread]
    taken_ms: dict[str, list[float]]
    naive_over_edgecell: dict[str, float]
    within: float


class Results(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="benchmarks/2"):
    """Everything that was measured. seconds: that it took. quick: few frames, so the figures say nothing. where: what the
    frames are of everything but `runs` and `resolution`. peers, engines: as those benchmarks say with --json. held_mib:
    frames that the soak holds in memory, part of its rss. resolution: None where no labelled fields were given."""

    utc: str
    seconds: float
    quick: bool
    machine: dict[str, str]
    where: str
    stages: Stages
    naive: Beside
    throughput: Throughput
    peers: dict[str, Any]
    engines: tuple[dict[str, Any], ...]
    runs: tuple[Figures, ...]
    start: Start
    soak: Soak
    held_mib: float
    growth: tuple[Growth, ...]
    resolution: Curve | None
    notice: str = NOTICE


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that was wanted. most: whether `wanted` is the most that it may be, and not the least."""

    what: str
    wanted: float
    found: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.most else self.found >= self.wanted


def goals(found: Results) -> Iterator[Goal]:
    """All that was wanted of frames of 1920x1200 on two cores."""
    paces = {pace.name: pace for pace in found.throughput.paces}
    yield Goal(what="frames a second, two cores", wanted=60, found=paces[EDGECELL].fps)
    for name, pace in paces.items():
        if name != EDGECELL:
            what = f"frames a second over those of {name}"
            yield Goal(what=what, wanted=10 if name == "naive" else 5, found=pace.edgecell_over[0])
    kernels, path = kernels_and_path(found.stages)
    whole = paces[EDGECELL].processor_ms / found.throughput.fixed_ms[0]
    yield Goal(what="frame path over its two networks' kernels, one thread", wanted=1.15, found=path / kernels, most=True)
    yield Goal(what="whole run over the kernels, processor time", wanted=1.15, found=whole / kernels, most=True)
    yield Goal(what="p99/p50 over the fixed work's own, one thread", wanted=1.5, found=found.naive.within, most=True)
    for each in found.engines:
        (times,) = (batch["times_faster"] for batch in each["by_batch"].values())
        for engine, wanted in (("onnxrt", 1.8), ("openvino", 2.2)):
            if f"{engine} u8s8" in times:
                what = f"INT8 over FP32, {each['bundle']} on {engine}, processor time"
                yield Goal(what=what, wanted=wanted, found=times[f"{engine} u8s8"]["cpu"])
    yield Goal(what="seconds from process start to the first counts", wanted=1.5, found=found.start.first_counts_s, most=True)
    held = [tenth.rss_mib - found.held_mib for tenth in found.soak.tenths]
    yield Goal(what="memory, MB", wanted=300, found=max(held) * 2**20 / 1e6, most=True)
    yield Goal(
        what=f"memory, last tenth of {found.soak.frames} frames over the first",
        wanted=FLAT,
        found=held[-1] / held[0],
        most=True,
    )


def kernels_and_path(stages: Stages) -> tuple[float, float]:
    """Fixed works of the two networks, and of the frame path without the correction, which only an optics file asks for."""
    by_name = {stage.name: stage.fixed for stage in stages.stages}
    return by_name["network"] + by_name["engine"], sum(fixed for name, fixed in by_name.items() if name != "correct")
