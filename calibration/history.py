"""What a training reached, epoch by epoch: JSON lines in a file, and curves as a picture beside it."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from calibration.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """epoch: of how many are done, from 1. loss: mean over the epoch. rate: of learning, at its end.

    validation: what was watched, by name (accuracy, 0-1, of each dataset), of the averaged weights.
    """

    epoch: int
    step: int
    loss: float
    rate: float
    validation: dict[str, float]


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: on what the training runs, where that decides its numbers. batch_norm: see calibration.parallel."""

    name: str
    steps: int
    processes: int
    threads: int
    precision: str
    batch_norm: str
    torch: str


def write(path: Path, begun: Begun, epochs: Sequence[Epoch]) -> None:
    """The whole history, one JSON object a line."""
    write_whole(path, b"".join(msgspec.json.encode(each) + b"\n" for each in (begun, *epochs)))


def draw(stem: Path, title: str, epochs: Sequence[Epoch]) -> None:
    """The curves as STEM.svg and STEM.png: loss, learning rate, and what was watched."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # With a salt the names inside an SVG, and without a date its bytes, are the same every time.
    with rc_context({"svg.hashsalt": "edgecell", "font.size": 9}):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title)
        loss, rate, watched = figure.subplots(1, 3)
        at = [each.epoch for each in epochs]
        _curve(loss, at, {"": [each.loss for each in epochs]}, "loss", log=all(each.loss > 0 for each in epochs))
        _curve(rate, at, {"": [each.rate for each in epochs]}, "learning rate")
        names = dict.fromkeys(name for each in epochs for name in each.validation)
        _curve(
            watched, at, {name: [each.validation.get(name, float("nan")) for each in epochs] for name in names}, "validation"
        )
        for suffix in ("svg", "png"):
            packed = BytesIO()
            figure.savefig(packed, format=suffix, dpi=120, metadata={"Date": None} if suffix == "svg" else None)
            write_whole(stem.with_name(f"{stem.name}.{suffix}"), packed.getvalue())


def _curve(axes: "Axes", at: Sequence[int], lines: Mapping[str, Sequence[float]], title: str, *, log: bool = False) -> None:
    for name, values in lines.items():
        axes.plot(at, values, marker=".", label=name)
    if log:
        axes.set_yscale("log")
    if any(lines):
        axes.legend()
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
