"""The cells of a journal as a table, for programs that know nothing of it. Each row says what it may be used for."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from edgecell.errors import JournalError, MissingDependency
from edgecell.journal.crops import Pictures, look
from edgecell.journal.events import FrameFate
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import ReviewReader
from edgecell.journal.revised import reviewed_label
from edgecell.journal.standing import Standing
from edgecell.messages import NOTICE

Format = Literal["csv", "jsonl", "parquet"]
ROWS = 20_000
"""Rows of a Parquet row group: what is held in memory."""


class CellRow(NamedTuple):
    """One cell. window: sequence of the counts message that it is in. utc: when that was recorded, by the device's clock.

    frame_name: as the source calls the frame. x0 to y1: box in pixels, half-open. crop: sha256 of its picture, if one was kept.
    region, slide_x_um, slide_y_um: where its centre lies in a region of the slide, if frames were placed; every region has an
    origin of its own. review, reviewed_label, reviewer: what stands of what people said (relabel, confirm or reject), the label
    with that, and who said it.
    """

    device_id: str
    sample_id: str
    run_id: str
    window: int
    utc: str
    frame: int
    frame_name: str
    cell: int
    kind: str
    label: str
    confidence: float | None
    decided: bool
    excluded: str | None
    x0: int
    y0: int
    x1: int
    y1: int
    crop: str | None
    region: int | None
    slide_x_um: float | None
    slide_y_um: float | None
    review: str | None
    reviewed_label: str | None
    reviewer: str | None
    notice: str = NOTICE


def cells(reader: Reader, run_ids: Iterable[str], reviews: ReviewReader | None = None) -> Iterator[CellRow]:
    """All cells of some runs, in order, with what people said of them, where somebody did. Erased ones are left out. Raises
    JournalError."""
    for run_id in run_ids:
        run = reader.run(run_id)
        if run.started is None:
            continue
        standing = Standing() if reviews is None else Standing(reviews.of(run_id))
        for row, window in reader.windows(run_id):
            if window is None:
                continue
            names = _names(window.frames)
            for cell in window.cells:
                region, x_um, y_um = cell.slide or (None, None, None)
                said = standing.of((cell.frame, cell.index))
                yield CellRow(
                    device_id=run.started.device_id,
                    sample_id=run.started.sample_id,
                    run_id=run_id,
                    window=window.sequence,
                    utc=row.entry.utc,
                    frame=cell.frame,
                    frame_name=names.get(cell.frame, ""),
                    cell=cell.index,
                    kind=cell.kind,
                    label=cell.label,
                    confidence=cell.confidence,
                    decided=cell.decided,
                    excluded=cell.excluded,
                    x0=cell.box_px[0],
                    y0=cell.box_px[1],
                    x1=cell.box_px[2],
                    y1=cell.box_px[3],
                    crop=cell.crop,
                    region=region,
                    slide_x_um=x_um,
                    slide_y_um=y_um,
                    review=said.action if said else None,
                    reviewed_label=reviewed_label(said) or None if said else None,
                    reviewer=said.operator if said else None,
                )


def check(kind: Format) -> None:
    """Raises MissingDependency for a format that cannot be written here."""
    if kind == "parquet":
        _pyarrow()


def write(rows: Iterable[CellRow], kind: Format, out: IO[bytes]) -> int:
    """The rows in one of the formats; how many. Raises MissingDependency, and JournalError where they cannot be written."""
    try:
        return _WRITERS[kind](rows, out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise JournalError(
            f"the export cannot be written: {error.strerror or error}", fix="free space, or give another file"
        ) from None


def write_crops(rows: Iterable[CellRow], folder: Path, out: Path) -> int:
    """The pictures of the rows that have one, as files for their owner alone; how many. Raises JournalError."""
    n = 0
    if not Pictures.there(folder):
        return n
    with look(folder) as crops:
        for row in rows:
            png = row.crop and crops.picture(row.run_id, row.frame, row.cell, row.crop)
            if not png:
                continue
            try:
                out.mkdir(mode=0o700, parents=True, exist_ok=True)
                with os.fdopen(os.open(out / f"{row.crop}.png", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(png)
            except OSError as error:
                raise JournalError(
                    f"cannot write into {out}: {error.strerror}", fix="give another folder for --crops"
                ) from None
            n += 1
    return n


def _csv(rows: Iterable[CellRow], out: IO[bytes]) -> int:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(CellRow._fields)
        n = 0
        for n, row in enumerate(rows, 1):  # noqa: B007 the number is the answer
            writer.writerow(["" if value is None else harmless(value) for value in row])
        text.flush()
    finally:
        text.detach()  # else it closes what is not its own
    return n


def harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula is kept from it by a quote."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _jsonl(rows: Iterable[CellRow], out: IO[bytes]) -> int:
    n = 0
    for n, row in enumerate(rows, 1):  # noqa: B007
        out.write(msgspec.json.encode(row._asdict()) + b"\n")
    out.flush()
    return n


def _parquet(rows: Iterable[CellRow], out: IO[bytes]) -> int:
    pa, parquet = _pyarrow()
    types: dict[str, Any] = {
        **dict.fromkeys(("window", "frame", "cell", "x0", "y0", "x1", "y1", "region"), pa.int64()),
        **dict.fromkeys(("confidence", "slide_x_um", "slide_y_um"), pa.float64()),
        "decided": pa.bool_(),
    }
    fields = [(name, types.get(name, pa.string())) for name in CellRow._fields]
    schema = pa.schema(fields, metadata={"notice": NOTICE})
    n = 0
    with parquet.ParquetWriter(out, schema) as writer:
        for group in _groups(rows):
            n += len(group)
            writer.write_table(pa.Table.from_pylist([row._asdict() for row in group], schema=schema))
    return n


def _pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        fix = "pip install 'edgecell[parquet]', or export csv or jsonl"
        raise MissingDependency("Parquet needs pyarrow, which is not installed", fix=fix) from error
    return pa, parquet


def _groups(rows: Iterable[CellRow]) -> Iterator[list[CellRow]]:
    group: list[CellRow] = []
    for row in rows:
        group.append(row)
        if len(group) == ROWS:
            yield group
            group = []
    if group:
        yield group


def _names(frames: Iterable[FrameFate]) -> dict[int, str]:
    """Names of frames, by index."""
    return {fate.first: fate.label for fate in frames if fate.label}


_WRITERS: dict[Format, Callable[[Iterable[CellRow], IO[bytes]], int]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
