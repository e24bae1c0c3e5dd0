"""The figures as pictures, SVG: latency, the stages as a waterfall, scaling with cells, the peers, the working resolution."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.end_to_end import LAID_PX, Figures
from benchmarks.peers import EDGECELL, FIXED
from benchmarks.resolution import Curve
from benchmarks.stages import Stages
from benchmarks.throughput import Throughput
from edgecell.messages import NOTICE

BLUE, GREY, RED, GREEN = "#2b6cb0", "#a0aec0", "#c05621", "#2f855a"
mpl.rcParams.update({"svg.hashsalt": "edgecell", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False})


def latency(path: Path, taken_ms: Mapping[str, Sequence[float]], what: str) -> None:
    """How long frames took from capture until they were counted, and how steady that was beside the fixed work."""
    figure, (left, right) = _sheet(f"From capture to counts, one frame at a time; {what}", 2)
    ours = np.array(taken_ms["edgecell"])
    p50, p99 = (float(value) for value in np.percentile(ours, [50, 99]))
    left.hist(np.clip(ours, 0, 1.5 * p99), bins=40, color=BLUE)
    for value, name in ((p50, "p50"), (p99, "p99")):
        left.axvline(value, color=RED, linewidth=1)
        left.annotate(
            f"  {name} {value:.1f} ms", (value, 0.95), xycoords=("data", "axes fraction"), color=RED, rotation=90, va="top"
        )
    left.set_xlabel("ms")
    left.set_ylabel("frames")
    steps = np.linspace(0.5, 2.5, 41)
    for name, colour, label in (("fixed_work", GREY, "fixed work"), ("edgecell", BLUE, "edgecell")):
        times = np.array(taken_ms[name])
        times /= np.median(times)
        p99 = float(np.percentile(times, 99))
        right.hist(
            np.clip(times, 0.5, 2.5), bins=steps.tolist(), color=colour, histtype="step", label=f"{label}, p99/p50 {p99:.2f}"
        )
    right.set_xlabel("times its own median")
    right.legend(frameon=False)
    _save(figure, path)


def waterfall(path: Path, found: Stages) -> None:
    """Every stage where the one before ends, and its floor."""
    figure, (axes,) = _sheet(f"One frame of {found.size_px[0]}x{found.size_px[1]}, {found.cells:.0f} cells, on one thread")
    ends = np.cumsum([stage.ms for stage in found.stages])
    for row, (stage, end) in enumerate(zip(found.stages, ends.tolist(), strict=True)):
        axes.barh(row, stage.ms, left=end - stage.ms, color=BLUE)
        axes.barh(row, stage.floor_ms or 0.0, left=end - stage.ms, color=RED, height=0.3)
        axes.annotate(f" {stage.ms:.2f}", (end, row), va="center", color="#4a5568")
    axes.set_yticks(range(len(found.stages)), [stage.name for stage in found.stages])
    axes.invert_yaxis()
    axes.set_xlabel("ms of processor time; red: the least that this machine could take")
    _save(figure, path)


def scaling(path: Path, lines: Sequence[Figures]) -> None:
    """Milliseconds a frame of 1920x1200 by its nucleated cells, laid out for it, and by all its cells, real frames too."""
    figure, (left, right) = _sheet("Time a frame by its cells, frames of 1920x1200", 2)
    for cores, colour in ((1, GREY), (2, BLUE)):
        mine = [line for line in lines if line.run.cores == cores and line.run.size_px == LAID_PX]
        laid = sorted((line for line in mine if line.run.what == "cells"), key=lambda line: line.nucleated)
        _times(left, [line.nucleated for line in laid], laid, colour, f"{cores} core{'s' * (cores > 1)}")
        few = sorted((line for line in mine if line.run.what == "real" or line.nucleated == 0), key=lambda line: line.cells)
        _times(right, [line.cells for line in few], few, colour, "")
    left.set_xlabel("nucleated cells, beside 800 to 1,300 red cells")
    right.set_xlabel("cells of all kinds, few of them nucleated")
    left.legend(frameon=False)
    left.set_ylabel("ms a frame, 1000 / (frames/s)")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    _save(figure, path)


def _times(axes: Axes, at: Sequence[float], lines: Sequence[Figures], colour: str, label: str) -> None:
    middle, least, most = (
        np.array([1000 / getattr(line, name) for line in lines]) for name in ("fps", "fps_most", "fps_least")
    )
    axes.errorbar(at, middle, (middle - least, most - middle), color=colour, marker="o", capsize=3, label=label)


def peers(path: Path, paces: Throughput, frame_by_frame: Mapping[str, Any], what: str) -> None:
    """How many times edgecell's time a peer takes, same frames, same cores, in turns: median and spread."""
    figure, (axes,) = _sheet(f"Times as long a frame as edgecell, {what}")
    two_cores = {pace.name: pace.edgecell_over for pace in paces.paces}
    names = [name for name in frame_by_frame if name not in (EDGECELL, FIXED)]
    for row, name in enumerate(names):
        times = frame_by_frame[name]["times_edgecell"]
        bars = [(row - 0.19, (times["p50"], times["p10"], times["p90"]), GREY)]
        if name in two_cores:
            bars.append((row + 0.19, two_cores[name], BLUE))
        for place, (middle, least, most), colour in bars:
            spread = [[middle - least], [most - middle]]
            axes.barh(place, middle - 1, left=1, height=0.36, xerr=spread, color=colour, capsize=3)
            axes.annotate(f" {middle:.1f}", (most, place), va="center")
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"], minor=False)
    axes.minorticks_off()
    axes.axvline(1.0, color=RED)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("blue: frames a second on two cores; grey: one frame at a time; red: edgecell")
    _save(figure, path)


def resolution(path: Path, found: Curve) -> None:
    """F1 of each kind and time, by micrometres a working pixel."""
    figure, (left, right) = _sheet(
        f"Working resolution of the segmenter {found.bundle}, {found.fields} val fields of TXL-PBC", 2
    )
    at = [point.work_um for point in found.points]
    for kind, colour in zip(found.points[0].f1, (BLUE, RED, GREEN), strict=True):
        middle, least, most = np.array([point.f1[kind] for point in found.points]).T
        left.errorbar(at, middle, (middle - least, most - middle), color=colour, marker="o", capsize=3, label=kind)
    left.set_ylabel("F1, 95 %")
    left.set_ylim(0, 1)
    left.legend(frameon=False)
    right.plot(at, [point.ms for point in found.points], color=BLUE, marker="o")
    right.set_ylabel("ms of processor time, 1920x1200")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.axvline(found.works_at_um, color=GREY, linewidth=1)
        axes.set_xlabel("um a working pixel; grey: where it works")
    _save(figure, path)


def _sheet(title: str, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.supxlabel(NOTICE, fontsize=6, color=GREY)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    """The same figures give the same bytes."""
    figure.savefig(path, format="svg", metadata={"Date": None})
