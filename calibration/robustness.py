"""What is left of the answers when a slide is lit, stained, focused, packed, scaled or turned otherwise than the model knows.

Each change is made at stated strengths to the whole image, before the cell is cut from it, and to all cells alike; then the
device's own way is gone: cut, even out the stain of the slide, INT8, threshold, hold-back. No chance is involved.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.evaluation import INT8, OnDevice, calls_of, logits_of, on_device
from calibration.labelled import Question, samples, scored_cells
from calibration.metrics import Share
from calibration.sample import Sample
from edgecell.bundle import Bundle
from edgecell.preprocess import cut

LOG = logging.getLogger("edgecell.calibration")
Image = NDArray[np.uint8]
Apply = Callable[[Image, tuple[float, float], float], tuple[Image, float]]
"""(image, the cell's centre in px, um per px) -> (changed image, um per px that the device is told)."""
MOST_CELLS = 2000
"""Spread evenly over all of them: more narrow the intervals little and take long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. strength: in `unit`."""

    kind: str
    strength: float
    unit: str
    apply: Apply

    def __str__(self) -> str:
        return f"{self.kind}, {self.unit} {self.strength:g}" if self.unit else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """INT8 under one change. decided, wrong: by the network alone, of all cells. device: with the hold-back."""

    change: Change
    accuracy: Share
    decided: Share
    wrong: Share
    device: OnDevice

    def summary(self) -> dict[str, object]:
        """As plain values."""
        shares = {"accuracy": self.accuracy, "decided": self.decided, "wrong": self.wrong}
        change = {"kind": self.change.kind, "strength": self.change.strength, "unit": self.change.unit}
        return {**change, **{name: each.summary() for name, each in shares.items()}, "on_device": self.device.summary()}

    def __str__(self) -> str:
        plain = "".join(f"{100 * each.value:12.1f}" for each in (self.accuracy, self.decided, self.wrong))
        held = f"{self.device.foreign} of {len(self.device.slides)}"
        return (
            f"{self.change!s:28}{plain}{held:>12}{100 * self.device.decided.value:12.1f}{100 * self.device.wrong.value:12.1f}"
        )


HEAD = (
    f"{'INT8, % of all cells':32}{'accuracy':>12}{'decided':>12}{'and wrong':>12}{'held back':>12}"
    f"{'then decided':>12}{'and wrong':>12}"
)


def brightened(image: Image, _: tuple[float, float], pixel_um: float, *, factor: float) -> tuple[Image, float]:
    """All levels times `factor`: another exposure. What is brighter than 255 is lost."""
    return _levels(image, (factor, factor, factor)), pixel_um


def cast(image: Image, _: tuple[float, float], pixel_um: float, *, share: float) -> tuple[Image, float]:
    """Red times 1 + share and blue times 1 - share: a warmer lamp, or a colder one below 0."""
    return _levels(image, (1 + share, 1.0, 1 - share)), pixel_um


def _levels(image: Image, factors: tuple[float, float, float]) -> Image:
    changed: Image = np.clip(image * np.array(factors, np.float32) + 0.5, 0, 255).astype(np.uint8)
    return changed


def blurred(image: Image, _: tuple[float, float], pixel_um: float, *, sigma_um: float) -> tuple[Image, float]:
    """A Gaussian of that standard deviation: out of focus."""
    return cv2.GaussianBlur(image, (0, 0), sigma_um / pixel_um).astype(np.uint8, copy=False), pixel_um


def packed(image: Image, _: tuple[float, float], pixel_um: float, *, quality: float) -> tuple[Image, float]:
    """Through a JPEG file of that quality (libjpeg's 0-100)."""
    _done, file = cv2.imencode(".jpg", image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB), np.uint8), pixel_um


def scaled(image: Image, _: tuple[float, float], pixel_um: float, *, factor: float) -> tuple[Image, float]:
    """The cell looks larger by `factor`: the device is told that many times too many um per px."""
    return image, pixel_um * factor


def turned(image: Image, centre_px: tuple[float, float], pixel_um: float, *, degrees: float) -> tuple[Image, float]:
    """Counter-clockwise around the cell; corners that come from outside the image mirror its inside."""
    middle = centre_px[0] - 0.5, centre_px[1] - 0.5  # a pixel's own middle is a whole number to OpenCV
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    size = image.shape[1], image.shape[0]
    around = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return around.astype(np.uint8, copy=False), pixel_um


def unchanged(image: Image, _: tuple[float, float], pixel_um: float) -> tuple[Image, float]:
    """As it is."""
    return image, pixel_um


_STRENGTHS: tuple[tuple[str, str, str, Callable[..., tuple[Image, float]], tuple[float, ...]], ...] = (
    ("brightness", "factor", "factor", brightened, (0.6, 0.8, 1.2, 1.4)),
    ("colour cast", "red against blue", "share", cast, (-0.2, -0.1, 0.1, 0.2)),
    ("blur", "sigma, um", "sigma_um", blurred, (0.1, 0.2, 0.4, 0.8)),
    ("JPEG", "quality", "quality", packed, (80, 60, 40, 20)),
    ("scale", "factor", "factor", scaled, (0.8, 0.9, 1.1, 1.25)),
    ("rotation", "degrees", "degrees", turned, (15, 45, 90, 180)),
)
CHANGES: tuple[Change, ...] = (
    Change(kind="as it is", strength=0, unit="", apply=unchanged),
    *(
        Change(kind=kind, strength=strength, unit=unit, apply=partial(apply, **{argument: strength}))
        for kind, unit, argument, apply, strengths in _STRENGTHS
        for strength in strengths
    ),
)


def table(bundle: Bundle, question: Question, changes: Sequence[Change] = CHANGES) -> Iterator[Row]:
    """A row for each change, on cells with one label. Raises BundleError where the bundle has no INT8 model, EngineError."""
    chosen = [sample for sample in samples(question) if len(sample.labels) == 1]
    chosen = chosen[:: -(-len(chosen) // MOST_CELLS)]
    for change in changes:
        row = _row(bundle, question, chosen, change)
        LOG.info("%s: accuracy %s", change, row.accuracy)
        yield row


def _row(bundle: Bundle, question: Question, chosen: Sequence[Sample], change: Change) -> Row:
    manifest = bundle.manifest
    spec = manifest.preprocess
    crops = np.empty((len(chosen), spec.size_px, spec.size_px, 3), np.uint8)
    for number, sample in enumerate(chosen):
        image = sample.image()
        centre = sample.centre(image)
        changed, pixel_um = change.apply(image, centre, sample.scale())
        crops[number] = cut(changed, centre, pixel_um, spec.crop_um, spec.size_px)
    cells = scored_cells(chosen, crops, question)
    calls, slides = calls_of(manifest, cells.truth, cells.slides, logits_of(bundle, cells.seen(spec), INT8))
    n = len(calls.truth)
    return Row(
        change=change,
        accuracy=Share(count=int(calls.right.sum()), n=n),
        decided=Share(count=int(calls.decided.sum()), n=n),
        wrong=Share(count=int((calls.decided & ~calls.right).sum()), n=n),
        device=on_device(calls, slides),
    )
