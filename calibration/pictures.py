"""Figures as pictures: SVG text that stands in a page by itself, the same for the same figures."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from calibration.coverage import Coverage
from calibration.metrics import ENOUGH
from calibration.reliability import Reliability

INK, FAINT, MARK, SECOND = "#1a1a1a", "#767676", "#0b5394", "#a64b00"
"""Contrast to white of 17, 4.5, 7.9 and 5.7: at least the 4.5 that small text needs (WCAG 2, 1.4.3)."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def confusion(cells: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Cells by (truth, called), shaded by their share of the row; rows with too few cells for a claim are not shaded."""
    counts = np.array(cells)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.where(rows >= ENOUGH, counts / np.maximum(rows, 1), 0.0)
    readable = [name.replace("_", " ") for name in names]
    middles = np.arange(len(names)) + 0.5

    def draw(axes: Axes) -> None:
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="#d8d8d8", linewidth=0.5)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        for (down, across), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[down, across] > 0.5 else INK
                axes.text(across + 0.5, down + 0.5, f"{count}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(middles, readable, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(middles, readable)
        axes.set_xlabel("called")
        axes.set_ylabel("truth")

    side = 2.2 + 0.5 * len(names)
    return picture("confusion", (side + 0.4, side), draw)


def reliability_diagram(found: Reliability) -> str:
    """Share right against mean confidence, bin by bin, with exact 95 % intervals; on the diagonal both are the same."""
    x, y = np.array([(each.confidence, each.right.value) for each in found.bins]).T
    limits = np.array([each.right.interval for each in found.bins]).T

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        axes.errorbar(x, y, yerr=np.abs(limits - y), fmt="o", color=MARK, markersize=4, capsize=2)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="mean confidence", ylabel="share right")

    return picture("reliability", (4.6, 4.2), draw)


def coverage_curve(curves: Mapping[str, Coverage], threshold: float) -> str:
    """Wrong ones of the answered against the share of cells that is answered; a dot is where the bundle's threshold lies."""

    def draw(axes: Axes) -> None:
        for (name, curve), colour, style in zip(curves.items(), (MARK, SECOND), ("-", "--"), strict=False):
            answered, error = curve.curve()
            axes.plot(100 * answered, 100 * error, color=colour, linestyle=style, linewidth=1.5, label=name)
            here = curve.at(threshold)
            if here.answered.count:
                axes.plot(100 * here.answered.value, 100 * here.wrong.value, "o", color=colour, markersize=5)
        axes.set(xlim=(0, 101), xlabel="cells answered, %", ylabel="wrong of the answered, %")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)

    return picture("coverage", (4.6, 4.2), draw)


def picture(prefix: str, inches: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """The `<svg>` element of what `draw` draws. prefix: before every id in it, so that several can stand in one page."""
    file = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": prefix}):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)


def png_uri(image: NDArray[np.uint8]) -> str:
    """An RGB image uint8 (H, W, 3) as a `data:` address."""
    _, file = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    return f"data:image/png;base64,{base64.b64encode(file.tobytes()).decode()}"
