"""One slide through the device's frame path, first image to last, as `edgecell count` goes through a folder."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.reread import results
from calibration.reread.binding import Binding, WorkerMismatch, binding, check, environment
from calibration.reread.results import CellLine, Content, Failed, Head, ImageLine, Result, Total
from calibration.reread.slides import Slide
from edgecell import app, clock, pipeline, tally
from edgecell.app import Recogniser
from edgecell.errors import FrameCorrupt
from edgecell.gate import GateState, Limits
from edgecell.imagefile import load_image
from edgecell.messages import Cell, Classification, Frame, FrameReport, Tally
from edgecell.settings import Settings

_UNREADABLE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A slide to be read. root, out: folders, the same on every machine. binding: of the process that asks for it."""

    root: str
    out: str
    slide: Slide
    settings: Settings
    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a slide: read, found unchanged (kept), or given up (problem). images: how many it has."""

    slide: str
    images: int
    kept: bool = False
    problem: str = ""


def read(job: Job) -> Outcome:
    """Read a slide and put its result in place, unless the one there is of the same images. Works in any process.

    Raises WorkerMismatch where this process is not like the one that asks, EdgecellError, OSError.
    """
    check(job.binding.environment, environment(), "this worker")
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for each other
    plan = app.plan(job.settings)
    if binding(plan) != job.binding:
        raise WorkerMismatch("this worker has other bundles or settings", fix="give every worker the same bundle folders")
    target = results.path_of(Path(job.out), job.slide.name)
    with results.written(target) as result:
        if _unchanged(job, results.read(target)):
            result.keep()
            return Outcome(slide=job.slide.name, images=len(job.slide.files), kept=True)
        with plan.recogniser() as recogniser:
            result.add(Head(slide=job.slide.name, binding=job.binding, models=recogniser.models))
            for each in _Reading(job, recogniser).lines():
                result.add(each)
        result.done()
    return Outcome(slide=job.slide.name, images=len(job.slide.files))


def _unchanged(job: Job, there: Result | None) -> bool:
    """Whether a result is of the very images, whatever their times say: they may have been copied here or touched."""
    if there is None or not results.fits(there, job.slide, job.binding):
        return False
    seen = _Seen()
    for file in job.slide.files:
        seen.add(file, Path(job.root) / file)
    return seen.content(job.slide) == there.total.content


class _Seen:
    """Which files were read, and their content."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._bytes = 0

    def add(self, name: str, path: Path) -> str:
        """sha256 of one more file."""
        try:
            content = path.read_bytes()
        except OSError:
            content, own = b"", _UNREADABLE
        else:
            own = hashlib.sha256(content).hexdigest()
        self._bytes += len(content)
        self._digest.update(f"{own} {name}\n".encode(errors="surrogateescape"))
        return own

    def content(self, slide: Slide) -> Content:
        names = results.names_sha256(slide.files)
        return Content(files=len(slide.files), bytes=self._bytes, names=names, content=self._digest.hexdigest())


@dataclass(slots=True, kw_only=True)
class _State:
    """What earlier images teach of the later ones."""

    gate: GateState = field(default_factory=GateState)
    slide: pipeline.SlideState = field(default_factory=pipeline.SlideState)


class _Reading:
    """A slide's images on their way through the frame path."""

    def __init__(self, job: Job, recogniser: Recogniser) -> None:
        self._job, self._recogniser = job, recogniser
        self._state = _State()

    def lines(self) -> Iterator[ImageLine | Total]:
        """A line for each image, then the total."""
        total, seen, failed, domain = Tally(), _Seen(), list[Failed](), "known"
        for index, name in enumerate(self._job.slide.files):
            total = tally.capture(total)
            path = Path(self._job.root) / name
            sha256 = seen.add(name, path)
            try:
                image = load_image(path, index)
            except FrameCorrupt as error:
                total = tally.fail(total)
                failed.append(Failed(image=name, error=error.what.removeprefix(f"{path}: ")))
                yield ImageLine(image=name, sha256=sha256, error=failed[-1].error)
                continue
            report = self._look(index, name, image)
            total = tally.add(total, report, self._recogniser.classes)
            domain = report.domain.state
            yield self._line(name, sha256, report)
        yield Total(
            labels=_labels(self._recogniser),
            tally=total,
            cells_total=total.cells_total,
            domain=domain,
            failed=tuple(failed),
            content=seen.content(self._job.slide),
        )

    def _look(self, index: int, name: str, image: NDArray[np.uint8]) -> FrameReport:
        frame = Frame(source_id="reread", index=index, captured_ns=0, image=image, label=name)
        recogniser, state = self._recogniser, self._state
        detected, state.gate = pipeline.detect(frame, recogniser.segmenter, Limits(), state.gate, clock.monotonic_ns)
        [report], state.slide = pipeline.classify([detected], recogniser.classifiers, state.slide, clock.monotonic_ns)
        return report

    def _line(self, name: str, sha256: str, report: FrameReport) -> ImageLine:
        own = tally.add(tally.capture(Tally()), report, self._recogniser.classes)
        answers = {answer.cell_index: answer for answer in report.classifications}
        return ImageLine(
            image=name,
            sha256=sha256,
            gated=report.verdict.reason,
            pixel_um=report.pixel_um,
            pixel_um_source=report.pixel_um_source,
            domain=report.domain.state,
            counts=dict(own.counts),
            unsure=own.unsure,
            excluded={str(reason): count for reason, count in own.excluded.items()},
            cells=tuple(_cell(cell, answers.get(cell.cell_index)) for cell in report.cells),
        )


def _cell(cell: Cell, answer: Classification | None) -> CellLine:
    return CellLine(
        kind=cell.kind,
        label=answer.label if answer else cell.kind,
        confidence=answer.confidence if answer else None,
        decided=answer.decided if answer else False,
        excluded=cell.excluded,
        box_px=cell.box_px,
    )


def _labels(recogniser: Recogniser) -> tuple[str, ...]:
    """What a cell can be counted as: the classes, then the kinds that no classifier refines."""
    classes = [name for name, meaning in recogniser.classes.items() if meaning.group != "reject"]
    kinds = [kind for kind in recogniser.segmenter.kinds if kind not in recogniser.classifiers]
    return tuple(dict.fromkeys([*classes, *kinds]))
