"""Does this slide look like those that the bundle knows? If not, its labels are held back.

A network is surest of what it was trained on: the mean confidence of many cells is an estimate of how many of them it gets
right (average confidence, Guillory et al. 2021, arXiv 2107.03315), and it falls on a foreign stain or microscope long before a
single cell gives it away. The bundle states the mean below which labels of decided cells were seen to go wrong on slides made
strange step by step (`foreign_below`, see calibration/strange.py). While the mean of the latest cells is below it, the slide is
`foreign`, and every cell of it stays undecided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecell.bundle import Manifest
from edgecell.messages import Classification, Domain

LEAST = 30
"""Fewer cells say little: the mean of 30 strays by 0.03 on a slide that is known."""
WINDOW = 200
"""Cells that are looked back on: about one differential count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    """Confidences of the latest cells of a run that were taken for some cell, newest last."""

    confidences: tuple[float, ...] = ()

    def after(self, answers: Sequence[Classification], manifest: Manifest) -> "DomainState":
        """With some more cells."""
        return DomainState(confidences=(*self.confidences, *telling(answers, manifest))[-WINDOW:])

    def domain(self, manifest: Manifest) -> Domain:
        """What the cells so far say."""
        return domain_of(self.confidences, manifest)


def telling(answers: Sequence[Classification], manifest: Manifest) -> list[float]:
    """The confidences that say something of a slide's cells: those of what looks like no cell do not."""
    reject = {each.name for each in manifest.classes if each.group == "reject"}
    return [each.confidence for each in answers if each.confidence is not None and each.label not in reject]


def domain_of(confidences: Sequence[float], manifest: Manifest) -> Domain:
    """The domain of cells of one slide. Under LEAST cells it is taken for known: nothing speaks against it."""
    n = len(confidences)
    if n < LEAST:
        return Domain(state="known", mean_confidence=None, cells=n)
    mean = sum(confidences) / n
    return Domain(state="foreign" if mean < manifest.confidence.foreign_below else "known", mean_confidence=mean, cells=n)


def held_back(answers: Sequence[Classification], domain: Domain) -> list[Classification]:
    """The answers, none of them decided where the slide is foreign."""
    if domain.state == "known":
        return list(answers)
    return [replace(each, decided=False) for each in answers]
