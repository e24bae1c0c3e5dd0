"""benchmarks/gallery.py: it asks for what it says, and what it says of cells is kept."""

import asyncio
import random
from pathlib import Path

from benchmarks.catch_up import RUN
from benchmarks.gallery import made, measure
from edgecell.journal.cells import RunCells
from edgecell.journal.verify import verify
from edgecell.messages import NOTICE


def test_every_request_is_answered_and_the_reviews_are_kept(tmp_path: Path) -> None:
    made(tmp_path, 1000, random.Random(1))
    figures = asyncio.run(measure(tmp_path, 1000, 2, random.Random(1)))
    assert (figures["cells"], figures["notice"]) == (1000, NOTICE)
    assert "review_of_900" in figures["requests"]
    assert all(each["processor_ms"] > 0 and each["bytes"] > 100 for each in figures["requests"].values())
    cells = RunCells.open(tmp_path, RUN)
    assert (cells.differs, cells.standing.cells, cells.reviewed().counts) == ("", 900, {"monocyte": 900})
    assert verify(tmp_path).whole
