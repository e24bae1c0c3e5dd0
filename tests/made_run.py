"""A whole run of many cells in a journal, with a drawn picture of each: what a gallery has to cope with."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from bus_messages import CLASSES, counts_message
from journal_windows import ended, started

from edgecell import tally
from edgecell.journal import chain
from edgecell.journal.crops import Crop, Crops
from edgecell.journal.events import FrameFate, RecordedCell, Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import FrameFates, Tally
from edgecell.wire import frames_of, to_wire

CELLS_OF_A_FRAME, FRAMES_OF_A_WINDOW = 10, 50
VARIANTS = 12
SHADES = {"neutrophil": (150, 90, 160), "lymphocyte": (90, 60, 150), "erythroblast": (130, 40, 90)}


def made(folder: Path, cells: int, run_id: str = "run-a", sample_id: str = "slide-17", *, crops: bool = True) -> None:
    """So many cells in frames of ten, of them one in ten at the edge and about one in eight unsure. crops: with pictures."""
    pictures = {label: [_picture(shade, number) for number in range(VARIANTS)] for label, shade in SHADES.items()}
    hashes = {label: [chain.sha256(png) for png in made] for label, made in pictures.items()} if crops else {}
    random = np.random.default_rng(7)
    total = Tally()
    with Journal.open(folder) as journal:
        journal.append(started(run_id, sample_id=sample_id))
        for sequence in range(-(-cells // (CELLS_OF_A_FRAME * FRAMES_OF_A_WINDOW))):
            found = tuple(_cells(sequence, cells, random, hashes))
            total = tally.combine(total, _tally(found))
            journal.append(_window(sequence, run_id, found, total), state=State(body=b""))
            if crops:
                with Crops.open(folder) as store:
                    cut = (each for each in found if each.crop)
                    store.add(run_id, [Crop(each.frame, each.index, pictures[each.label][_variant(each)]) for each in cut])
        journal.append(ended(run_id))


def _cells(sequence: int, cells: int, random: np.random.Generator, hashes: dict[str, list[str]]) -> Iterator[RecordedCell]:
    labels = tuple(CLASSES)
    first = sequence * FRAMES_OF_A_WINDOW
    for number in range(min(CELLS_OF_A_FRAME * FRAMES_OF_A_WINDOW, cells - first * CELLS_OF_A_FRAME)):
        frame, index = first + number // CELLS_OF_A_FRAME, number % CELLS_OF_A_FRAME
        label = labels[int(random.choice(len(labels), p=(0.6, 0.35, 0.05)))]
        confidence = round(float(random.beta(6, 1)), 4)
        box = (60 * index, 100, 60 * index + 48, 148)
        if index == CELLS_OF_A_FRAME - 1:
            yield RecordedCell(frame, index, "nucleated", "", None, False, "edge", box)
        else:
            made = RecordedCell(frame, index, "nucleated", label, confidence, confidence > 0.7, None, box)
            yield msgspec.structs.replace(made, crop=hashes[label][_variant(made)]) if hashes else made


def _variant(cell: RecordedCell) -> int:
    return (cell.frame + cell.index) % VARIANTS


def _tally(cells: tuple[RecordedCell, ...]) -> Tally:
    frames = len({cell.frame for cell in cells})
    return Tally(
        counts=Counter(cell.label for cell in cells if cell.decided),
        unsure=sum(not cell.decided and cell.excluded is None for cell in cells),
        excluded=Counter(cell.excluded for cell in cells if cell.excluded),
        frames=FrameFates(captured=frames, processed=frames),
    )


def _window(sequence: int, run_id: str, cells: tuple[RecordedCell, ...], total: Tally) -> Window:
    message = counts_message(
        sequence,
        run_id=run_id,
        counts=dict(_tally(cells).counts),
        cumulative=dict(total.counts),
        unsure=total.unsure,
        excluded=dict(total.excluded),
        cells_total=total.cells_total,
        frames=frames_of(total.frames),
        gated_reasons={},
        dropped_reasons={},
        differential=tally.differential(total, CLASSES),
        journal_position=None,
        chain_head="",
    )
    topic, payload = to_wire(message)
    frames = FrameFate(cells[0].frame, len({cell.frame for cell in cells}), "processed")
    return Window(run_id=run_id, sequence=sequence, frames=(frames,), cells=cells, topic=topic, message=msgspec.Raw(payload))


def _picture(shade: tuple[int, int, int], number: int) -> bytes:
    """A disc with a nucleus, PNG of 64 px."""
    image = np.full((64, 64, 3), (232, 236, 238), np.uint8)
    cv2.circle(image, (32, 32), 20 + number % 4, (225, 205, 215), -1, cv2.LINE_AA)
    cv2.ellipse(image, (32, 32), (15, 9 + number % 5), 30.0 * number, 0, 360, shade, -1, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", image)[1])
