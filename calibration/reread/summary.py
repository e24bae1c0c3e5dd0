"""All slides' results in one place: `summary.json` and `summary.csv`.

Slides are summed up but never taken for one sample: a differential of an archive would mix patients, so there is none.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from calibration.reread import results
from calibration.reread.binding import Binding
from calibration.reread.results import Failed, Result
from calibration.reread.slides import Slide
from edgecell import tally
from edgecell.messages import NOTICE, Exclusion, Tally
from edgecell.wire import Model

JSON, CSV = "summary.json", "summary.csv"
FATES = ("captured", "processed", "gated", "failed")
EXCLUSIONS: tuple[Exclusion, ...] = ("edge", "duplicate", "rejected")


class SlideRow(msgspec.Struct, frozen=True, kw_only=True):
    """One slide. result: its file below the folder of results. domain: how it looked in the end."""

    slide: str
    result: str
    tally: Tally
    cells_total: int
    domain: str
    failed: tuple[Failed, ...]


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A slide that has no result."""

    slide: str
    problem: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The archive. labels: what a cell could be counted as. total: of the slides that were read."""

    format: str = "edgecell-reread-summary/1"
    notice: str = NOTICE
    archive: str
    binding: Binding
    models: tuple[Model, ...]
    labels: tuple[str, ...]
    complete: bool
    total: Tally
    cells_total: int
    slides: tuple[SlideRow, ...]
    unread: tuple[Unread, ...]

    @property
    def failed(self) -> list[Failed]:
        return [each for row in self.slides for each in row.failed]


def merged(archive: Path, out: Path, slides: Iterable[Slide], made_with: Binding, problems: Mapping[str, str]) -> Summary:
    """The results of the slides as they are now. problems: what kept a slide from being read, by its name."""
    rows, unread, total = list[SlideRow](), list[Unread](), Tally()
    models, labels = dict[Model, None](), dict[str, None]()
    for slide in slides:
        path = results.path_of(out, slide.name)
        result = results.read(path)
        if slide.name in problems or result is None or not results.fits(result, slide, made_with):
            unread.append(Unread(slide=slide.name, problem=problems.get(slide.name, "it changed meanwhile: run again")))
            continue
        rows.append(_row(slide, path.relative_to(out), result))
        total = tally.combine(total, result.total.tally)
        models.update(dict.fromkeys(result.head.models))
        labels.update(dict.fromkeys(result.total.labels))
    return Summary(
        archive=str(archive),
        binding=made_with,
        models=tuple(models),
        labels=tuple(labels),
        complete=not unread,
        total=total,
        cells_total=total.cells_total,
        slides=tuple(rows),
        unread=tuple(unread),
    )


def _row(slide: Slide, path: Path, result: Result) -> SlideRow:
    end = result.total
    return SlideRow(
        slide=slide.name,
        result=path.as_posix(),
        tally=end.tally,
        cells_total=end.cells_total,
        domain=end.domain,
        failed=end.failed,
    )


def write(found: Summary, out: Path) -> None:
    """Both files, each put in place in one step."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table(found))
    _put(out / CSV, text.getvalue().encode(errors="surrogateescape"))
    _put(out / JSON, results.line(found))


def table(found: Summary) -> Iterator[list[object]]:
    """Header, a row for each slide, and the total."""
    yield ["slide", *FATES, *found.labels, "unsure", *EXCLUSIONS, "cells_total", "domain", "notice"]
    for row in found.slides:
        yield [row.slide, *_cells(row.tally, found.labels), row.domain, NOTICE]
    yield ["TOTAL", *_cells(found.total, found.labels), "", NOTICE]


def _cells(counted: Tally, labels: Iterable[str]) -> list[int]:
    fates = [getattr(counted.frames, name) for name in FATES]
    excluded = (counted.excluded.get(name, 0) for name in EXCLUSIONS)
    return [*fates, *(counted.counts.get(label, 0) for label in labels), counted.unsure, *excluded, counted.cells_total]


def _put(target: Path, content: bytes) -> None:
    part = target.with_name(f"{results.PART}{os.getpid()}-{target.name}")
    part.write_bytes(content)
    part.replace(target)
