"""How fast a run is on this machine: a real run, timed from outside, and the figures of its laps."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgecell import app
from edgecell.app import Chosen, Plan
from edgecell.errors import SourceUnavailable
from edgecell.messages import NOTICE
from edgecell.settings import PartSettings
from edgecell.stopwatch import STAGES, Around, Lap, Stopwatch, TimedPublisher, TimedSource
from edgecell.wire import Frames, Model

LOOPBACK = PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"}, where="bench")
"""The real bus on a free port, so that a bench never meets a running edgecell."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles (linear interpolation) and mean of one figure over the frames that have it."""

    p50: float
    p95: float
    p99: float
    mean: float


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """CPU threads in use. engines: each in its own words. The frame path itself has four: capture, detect, classify, and all
    else."""

    opencv: int
    engines: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="bench/1"):
    """What a bench found.

    frames: laps that the figures are of. warmup: laps before, left out. preloaded: frames held in memory, 0 if each was read.
    fps, cells_per_s: by the clock on the wall, from the end of the warm-up's last frame (without warm-up: from the first look)
    to the end of the last. stages_ms: of the frames that reached the stage; frames overlap, so a second holds more of them than
    their sum says. `wait`: between threads. classify_ms: parts of that stage, `crops` (cut, normalise, decide) and `engine`.
    end_to_end_ms: from a frame's capture, as its time stamp says it (the phantom's and a camera's lies before the picture is
    ready), until what is due is published, `wait` included: as long as it gets where the source is always ready, as preloaded
    frames are. fates: of all frames of the run, warm-up included. machine: by subject, as `edgecell doctor` says it.
    """

    source: str
    sizes_px: tuple[tuple[int, int], ...]
    frames: int
    warmup: int
    preloaded: int
    fps: float
    cells_per_s: float
    cells_per_frame: float
    nucleated_per_frame: float
    classified_per_frame: float
    pixel_um: float | None
    stages_ms: dict[str, Spread]
    classify_ms: dict[str, Spread]
    end_to_end_ms: Spread
    fates: Frames
    dropped: int
    rss_peak_mib: float
    threads: Threads
    models: tuple[Model, ...]
    machine: dict[str, str] = {}
    notice: str = NOTICE


def measure(plan: Plan, *, frames: int, warmup: int, preload: bool, on_lap: Callable[[Lap], None]) -> Outcome:
    """Run `plan` for warmup + frames frames, its publisher exchanged for LOOPBACK; a source that ends starts over.

    Raises what a run raises, and SourceUnavailable when nothing was left to measure.
    """
    watch = Stopwatch(on_lap)
    run = msgspec.structs.replace(plan.settings.run, max_frames=warmup + frames)
    timed = dataclasses.replace(
        plan,
        settings=msgspec.structs.replace(plan.settings, run=run),
        source=_around(plan.source, TimedSource, watch, preload=frames if preload else 0),
        publisher=_around(app.choose("publisher", LOOPBACK), TimedPublisher, watch),
    )
    with timed.runtime(watch) as runtime:
        last = runtime.run()
    laps = watch.laps[warmup:]
    if not laps:
        what = f"{len(watch.laps)} frames of {plan.source.name} could be used, and the warm-up took them all"
        raise SourceUnavailable(what, fix="give it frames that can be used, or a smaller --warmup")
    began_ns = watch.laps[warmup - 1].over_ns if warmup else laps[0].began_ns
    seconds = (laps[-1].over_ns - began_ns) / 1e9
    return Outcome(
        source=plan.source.name,
        sizes_px=tuple(sorted({lap.size_px for lap in laps})),
        frames=len(laps),
        warmup=warmup,
        preloaded=watch.preloaded,
        fps=len(laps) / seconds,
        cells_per_s=sum(lap.cells for lap in laps) / seconds,
        cells_per_frame=float(np.mean([lap.cells for lap in laps])),
        nucleated_per_frame=float(np.mean([lap.nucleated for lap in laps])),
        classified_per_frame=float(np.mean([lap.classified for lap in laps])),
        pixel_um=last.counts.pixel_um,
        stages_ms=_stages(laps),
        classify_ms=_parts_of_classify(laps),
        end_to_end_ms=spread([lap.end_to_end_ms for lap in laps]),
        fates=last.counts.frames,
        dropped=last.counts.frames.dropped,
        rss_peak_mib=rss_peak_mib(),
        threads=Threads(opencv=watch.opencv_threads, engines=tuple(model.engine for model in last.counts.models)),
        models=last.counts.models,
    )


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    return Spread(p50=p50, p95=p95, p99=p99, mean=float(np.mean(values)))


def rss_peak_mib() -> float:
    """The most memory this process has held, in MiB; from the kernel, nan where it does not tell. (getrusage would do, but it
    hands a parent's peak on to its children.)"""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return float("nan")


def _stages(laps: Sequence[Lap]) -> dict[str, Spread]:
    times = {stage: [lap.stages_ms[stage] for lap in laps if stage in lap.stages_ms] for stage in STAGES}
    return {stage: spread(values) for stage, values in times.items() if values}


def _parts_of_classify(laps: Sequence[Lap]) -> dict[str, Spread]:
    """Empty where every frame was gated."""
    both = [(lap.stages_ms["classify"], lap.engine_ms) for lap in laps if "classify" in lap.stages_ms]
    if not both:
        return {}
    return {"crops": spread([whole - engine for whole, engine in both]), "engine": spread([engine for _, engine in both])}


def _around(chosen: Chosen, wrapper: type[Around], watch: Stopwatch, **own: object) -> Chosen:
    """The same choice, made with the stopwatch around it. own: further class attributes."""
    name = f"{wrapper.__name__}Of{chosen.part.__name__}"
    return dataclasses.replace(chosen, part=type(name, (wrapper,), {"part": chosen.part, "watch": watch, **own}))
