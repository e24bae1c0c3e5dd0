"""The figures as pictures, SVG: a latency histogram, the stages as a waterfall, scaling with cells, and the peers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.end_to_end import Figures
from benchmarks.stages import Stages
from edgecell.messages import NOTICE

BLUE, GREY, RED = "#2b6cb0", "#a0aec0", "#c05621"
mpl.rcParams.update({"svg.hashsalt": "edgecell", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False})


def latency(path: Path, taken_ms: Sequence[float], what: str) -> None:
    """How long frames took from capture until they were counted."""
    figure, axes = _sheet(f"From capture to counts, {what}")
    p50, p99 = (float(value) for value in np.percentile(taken_ms, [50, 99]))
    axes.hist(np.clip(taken_ms, 0, 1.5 * p99), bins=40, color=BLUE)
    for value, name in ((p50, "p50"), (p99, "p99")):
        axes.axvline(value, color=RED, linewidth=1)
        axes.annotate(
            f"{name} {value:.1f} ms", (value, 0.95), xycoords=("data", "axes fraction"), color=RED, rotation=90, va="top"
        )
    axes.set_xlabel("ms")
    axes.set_ylabel("frames")
    _save(figure, path)


def waterfall(path: Path, found: Stages) -> None:
    """Every stage where the one before ends, and its floor."""
    figure, axes = _sheet(f"One frame of {found.size_px[0]}x{found.size_px[1]}, {found.cells:.0f} cells, on one thread")
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
    """Frames a second by the number of nucleated cells a frame, by cores."""
    some = [line for line in lines if line.run.what == "cells"]
    figure, axes = _sheet("Frames/s by nucleated cells a frame, beside some 1,200 red cells")
    for cores, colour in ((1, GREY), (2, BLUE)):
        of = sorted((line.nucleated, line.fps, line.fps_least, line.fps_most) for line in some if line.run.cores == cores)
        if of:
            cells, middle, least, most = np.array(of).T
            axes.errorbar(
                cells, middle, (middle - least, most - middle), color=colour, marker="o", capsize=3, label=f"{cores} core"
            )
    axes.set_xlabel("nucleated cells a frame")
    axes.set_ylabel("frames/s")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)


def peers(path: Path, ratios: Mapping[str, tuple[float, float, float]], what: str) -> None:
    """Time of each peer over edgecell's, (p10, p50, p90), same frames, same cores, in turns."""
    figure, axes = _sheet(f"Time over edgecell's, {what}")
    for row, (low, middle, high) in enumerate(ratios.values()):
        axes.barh(row, middle, xerr=[[middle - low], [high - middle]], color=GREY, capsize=3)
        axes.annotate(f" {middle:.1f}", (high, row), va="center")
    axes.axvline(1.0, color=BLUE)
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.invert_yaxis()
    axes.set_xlabel("times as long a frame; blue: edgecell")
    _save(figure, path)


def _sheet(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    figure.supxlabel(NOTICE, fontsize=6, color=GREY)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    """The same figures give the same bytes."""
    figure.savefig(path, format="svg", metadata={"Date": None})
