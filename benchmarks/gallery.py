"""The gallery at many cells: what a page of them, a picture and a review take, over the server's own routes.

    python -m benchmarks.gallery [--cells 20000] [--turns 30]

Makes a journal of one run in windows of 100 cells, each with a picture, and asks the page's application as a browser would, but
for the socket. Milliseconds a request, medians: of processor time, which tells most on a machine that does other work too, and
by the clock; what asks is among both. The first look reads the run; all later ones what is new. Prints one JSON object.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import cv2
import httpx
import msgspec
import numpy as np

from benchmarks import catch_up
from benchmarks.catch_up import CLASSES, RUN
from edgecell import tally
from edgecell.journal.chain import sha256
from edgecell.journal.crops import Crop, Crops
from edgecell.journal.events import FrameFate, RecordedCell, Window
from edgecell.journal.journal import Journal
from edgecell.journal.replay import counted
from edgecell.messages import NOTICE, Tally
from edgecell.web.app import application
from edgecell.web.hub import Hub
from edgecell.web.runs import Runs
from edgecell.web.session import Door
from edgecell.web.station import Station
from edgecell.wire import frames_of

OF_A_WINDOW, OF_A_FRAME, PICTURES, UNSURE_BELOW = 100, 10, 50, 0.5
HERE, PATH = "http://127.0.0.1:8470", f"/api/runs/{RUN}"


def made(folder: Path, cells: int, chance: random.Random) -> None:
    """The journal. One cell in ten is at the edge."""
    total, pictures = Tally(), [_picture(number) for number in range(PICTURES)]
    with Journal.open(folder) as journal, Crops.open(folder) as crops:
        journal.append(catch_up.started())
        for number in range(cells // OF_A_WINDOW):
            found = tuple(_cells(number, pictures, chance))
            frames = FrameFate(number * OF_A_FRAME, OF_A_FRAME, "processed")
            bare = Window(
                run_id=RUN, sequence=number, frames=(frames,), cells=found, topic="counts/1", message=msgspec.Raw(b"0")
            )
            before, total = total, counted(total, bare, CLASSES)
            crops.add(RUN, [Crop(each.frame, each.index, pictures[_shown(each)]) for each in found if each.crop])
            journal.append(
                msgspec.structs.replace(bare, message=msgspec.Raw(msgspec.json.encode(_message(number, before, total))))
            )


class Browser:
    """Asks one application."""

    def __init__(self, folder: Path) -> None:
        hub = Hub()
        runs = Runs(journal=folder, settings={}, endpoint="tcp://127.0.0.1:9", hub=hub)
        app = application(Station(journal=folder, hub=hub, runs=runs, door=Door(None)))
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=HERE)

    async def timed(self, turns: int, method: str, path: Callable[[], str], body: object = None) -> dict[str, float]:
        """Median milliseconds of a request, and its bytes."""
        spent = []
        for _ in range(turns):
            before, began = process_time(), perf_counter()
            answer = await self._client.request(method, path(), json=body)
            spent.append(((process_time() - before) * 1e3, (perf_counter() - began) * 1e3))
            answer.raise_for_status()
        processor, clock = (round(statistics.median(each), 2) for each in zip(*spent, strict=True))
        return {"processor_ms": processor, "clock_ms": clock, "bytes": len(answer.content)}

    async def places(self, cells: int) -> list[list[int]]:
        """Every cell that can be reviewed."""
        found = []
        for offset in range(0, cells, 500):
            page = (await self._client.get(f"{PATH}/cells?order=time&limit=500&offset={offset}")).json()["cells"]
            found += [[each["frame"], each["cell"]] for each in page if not each["excluded"]]
        return found


async def measure(folder: Path, cells: int, turns: int, chance: random.Random) -> dict[str, Any]:
    """All requests, in the order in which a person makes them."""
    browser = Browser(folder)

    def page(limit: int, view: str = "all") -> Callable[[], str]:
        return lambda: f"{PATH}/cells?view={view}&limit={limit}&offset={chance.randrange(0, cells // 20)}"

    first = await browser.timed(1, "GET", page(200))
    places = await browser.places(cells)
    some = places[: 2 * turns]

    def word(*about: list[int]) -> dict[str, Any]:
        return {"operator": "anna", "action": "relabel", "label": "monocyte", "cells": about}

    figures = {
        "first_look": first,
        "page_of_200": await browser.timed(turns, "GET", page(200)),
        "page_of_500": await browser.timed(turns, "GET", page(500, "label:neutrophil")),
        "run": await browser.timed(turns, "GET", lambda: PATH),
        "picture": await browser.timed(turns, "GET", lambda: "{}/cells/{}/{}.png".format(PATH, *chance.choice(some))),
        "review_of_one": await browser.timed(turns, "POST", lambda: f"{PATH}/reviews", word(some[0])),
        "page_after_a_review": await browser.timed(1, "GET", page(200, "label:neutrophil")),
        f"review_of_{len(places)}": await browser.timed(1, "POST", lambda: f"{PATH}/reviews", word(*places)),
        "page_after_that": await browser.timed(turns, "GET", page(200)),
    }
    return {"cells": cells, "requests": figures, "notice": NOTICE}


def _cells(number: int, pictures: list[bytes], chance: random.Random) -> Iterator[RecordedCell]:
    for each in range(OF_A_WINDOW):
        frame, index = number * OF_A_FRAME + each // OF_A_FRAME, each % OF_A_FRAME
        box = (60 * index, 8, 60 * index + 40, 48)
        if index == OF_A_FRAME - 1:
            yield RecordedCell(frame, index, "nucleated", "", None, False, "edge", box)
        else:
            confidence = round(chance.betavariate(6, 1), 4)
            label = chance.choice([*CLASSES])
            made = RecordedCell(frame, index, "nucleated", label, confidence, confidence >= UNSURE_BELOW, None, box)
            yield msgspec.structs.replace(made, crop=sha256(pictures[_shown(made)]))


def _shown(cell: RecordedCell) -> int:
    return (cell.frame * OF_A_FRAME + cell.index) % PICTURES


def _message(number: int, before: Tally, total: Tally) -> object:
    return msgspec.structs.replace(
        catch_up.counts(number),
        counts=tally.window_counts(total, before),
        cumulative=dict(total.counts),
        unsure=total.unsure,
        excluded={str(reason): count for reason, count in total.excluded.items()},
        cells_total=total.cells_total,
        frames=frames_of(total.frames),
        differential=tally.differential(total, CLASSES),
    )


def _picture(number: int) -> bytes:
    """A disc on a light ground, 64 px, PNG."""
    image = np.full((64, 64, 3), 232, np.uint8)
    cv2.circle(image, (32, 32), 12 + number % 12, (150, 60 + 3 * number, 120), -1, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", image)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000, help="a multiple of 1000")
    parser.add_argument("--turns", type=int, default=30)
    asked, chance = parser.parse_args(), random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), asked.cells, chance)
        print(json.dumps(asyncio.run(measure(Path(folder), asked.cells, asked.turns, chance)), indent=2))


if __name__ == "__main__":
    main()
