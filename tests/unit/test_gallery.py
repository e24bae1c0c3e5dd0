"""The gallery's routes over a real journal: pages of cells, their pictures, reviews and signing off."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from journal_windows import started, window
from made_run import made

from edgecell.journal import erase
from edgecell.journal.cells import RunCells
from edgecell.journal.journal import Journal, held
from edgecell.journal.reader import Reader, State
from edgecell.messages import NOTICE
from edgecell.web.app import application
from edgecell.web.hub import Hub
from edgecell.web.runs import Runs
from edgecell.web.session import Door
from edgecell.web.station import Station

HERE = "http://127.0.0.1:8470"
RUN = "/api/runs/run-a"


class Page:
    """A browser at one server's application. got: the JSON of an answer that must have a status."""

    def __init__(self, folder: Path) -> None:
        hub = Hub()
        runs = Runs(journal=folder, settings={"phantom": None}, endpoint="tcp://127.0.0.1:9", hub=hub)
        self._app = application(Station(journal=folder, hub=hub, runs=runs, door=Door(None)))

    def asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def got(self, path: str, status: int = 200, **params: object) -> dict[str, Any]:
        return self._json(self.asked("GET", path, params=params), status)

    def said(self, body: object, status: int = 200, path: str = f"{RUN}/reviews") -> dict[str, Any]:
        return self._json(self.asked("POST", path, json=body), status)

    def _json(self, answer: httpx.Response, status: int) -> dict[str, Any]:
        found: dict[str, Any] = answer.json()
        assert (answer.status_code, found.pop("notice")) == (status, NOTICE), found
        return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 cells, which no test reviews."""
    folder = tmp_path_factory.mktemp("whole")
    made(folder, 1000)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """100 cells, to be reviewed."""
    made(tmp_path, 100)
    return Page(tmp_path)


def test_the_runs_latest_first_and_none_before_there_is_a_journal(tmp_path: Path) -> None:
    page = Page(tmp_path / "journal")
    assert page.got("/api/runs") == {"runs": []}
    page.got(RUN, 404)
    made(tmp_path / "journal", 20)
    with Journal.open(tmp_path / "journal") as journal:
        journal.append(started("run-b", sample_id="18", operator="anna"))
    later, earlier = page.got("/api/runs")["runs"]
    assert (later["run_id"], later["sample_id"], later["operator"], later["ended"], later["windows"], later["n"]) == (
        "run-b",
        "18",
        "anna",
        None,
        0,
        0,
    )
    cells = RunCells.open(tmp_path / "journal", "run-a")
    assert (earlier["run_id"], earlier["ended"], earlier["windows"], earlier["reviewed"], earlier["signed_off"]) == (
        "run-a",
        "stopped",
        1,
        0,
        False,
    )
    assert earlier["n"] == cells.differentials()[0].n


def test_a_run_shows_both_counts_and_that_they_add_up(whole: Path) -> None:
    told = Page(whole).got(RUN)
    assert told["machine"] == told["reviewed"]
    assert told["reconciles"] is True
    assert told["crops"] is True
    assert told["review"] == {"cells": 0, "operators": [], "signed_off": None, "position": 0}
    assert told["frames"]["processed"] == 100
    assert sum(told["cumulative"].values()) + told["unsure"] + sum(told["excluded"].values()) == 1000
    assert [each["label"] for each in told["classes"]] == ["neutrophil", "lymphocyte", "erythroblast"]
    assert {**told["cumulative"], "unsure": told["unsure"], "excluded": 100, "reviewed": 0} == told["views"]


@pytest.mark.parametrize("view", ["all", "unsure", "excluded", "reviewed", "label:neutrophil", "label:martian"])
@pytest.mark.parametrize("order", ["doubtful", "time"])
def test_pages_of_a_view_join_without_a_gap(whole: Path, view: str, order: str) -> None:
    page, known = Page(whole), RunCells.open(whole, "run-a")
    found: list[tuple[int, int]] = []
    for offset in range(0, 1000, 300):
        answer = page.got(f"{RUN}/cells", view=view, order=order, offset=offset, limit=300)
        found += [(each["frame"], each["cell"]) for each in answer["cells"]]
    assert answer["total"] == len(found) == len(known.view(view, "time"))
    assert found == known.view(view, "time" if order == "time" else "doubtful")


def test_a_cell_is_told_with_what_the_machine_said(whole: Path) -> None:
    first, *_, last = Page(whole).got(f"{RUN}/cells", limit=500)["cells"]
    assert (first["kind"], first["decided"], first["excluded"], first["review"]) == ("nucleated", False, None, None)
    assert first["confidence"] < last["confidence"]
    assert first["picture"] == f"{RUN}/cells/{first['frame']}/{first['cell']}.png"
    edge = Page(whole).got(f"{RUN}/cells", view="excluded")["cells"][0]
    assert (edge["label"], edge["excluded"], edge["picture"]) == ("", "edge", None)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"view": "martian"}, "view"),
        ({"order": "random"}, "order"),
        ({"limit": 501}, "limit"),
        ({"limit": 0}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": "9" * 40}, "offset"),
        ({"offset": "²"}, "offset"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_its_field(whole: Path, params: dict[str, object], field: str) -> None:
    refused = Page(whole).got(f"{RUN}/cells", 422, **params)
    assert (refused["field"], bool(refused["fix"])) == (field, True)


def test_a_picture_is_the_cell_s_and_may_be_kept_a_while(whole: Path) -> None:
    page = Page(whole)
    first = page.got(f"{RUN}/cells")["cells"][0]
    answer = page.asked("GET", first["picture"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["cache-control"] == "private, max-age=3600, immutable"
    page.got(f"{RUN}/cells/0/9.png", 404)
    page.got(f"{RUN}/cells/777/0.png", 404)


def test_a_review_changes_the_differential_at_once_and_is_kept(page: Page, tmp_path: Path) -> None:
    before = page.got(RUN)
    cells = [[0, 0], [1, 3], [0, 0]]
    answer = page.said({"operator": "anna", "cells": cells, "action": "relabel", "label": "erythroblast"})
    assert [(each["frame"], each["cell"]) for each in answer["cells"]] == [(0, 0), (1, 3)]
    assert {each["review"]["label"] for each in answer["cells"]} == {"erythroblast"}
    assert {each["label"] for each in answer["cells"]} <= {"neutrophil", "lymphocyte", "erythroblast"}
    assert answer["review"] == {"cells": 2, "operators": ["anna"], "signed_off": None, "position": 2}
    after = Page(tmp_path).got(RUN)  # another server
    assert (after["reviewed"], after["views"]) == (answer["reviewed"], answer["views"])
    assert after["machine"] == before["machine"] != after["reviewed"]
    assert sum(after["views"].values()) - after["views"]["reviewed"] == 100
    undone = page.said({"operator": "ben", "cells": cells[:2], "action": "undo"})
    assert (undone["reviewed"], undone["views"]) == (before["machine"], before["views"])
    assert [each["review"] for each in undone["cells"]] == [None, None]


def test_a_rejected_cell_is_excluded(page: Page) -> None:
    before = page.got(RUN)["views"]
    answer = page.said({"operator": "anna", "cells": [[0, 0]], "action": "reject", "label": None})
    assert answer["views"]["excluded"] == before["excluded"] + 1
    assert answer["cells"][0]["review"]["action"] == "reject"
    found = page.got(f"{RUN}/cells", view="reviewed")
    assert (found["total"], found["cells"]) == (1, answer["cells"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"operator": " "}, "an operator's name has"),
        ({"label": "martian"}, "'martian' is no label"),
        ({"cells": [[0, 99]]}, "no cell 0:99"),
        ({"cells": [[0, 9]]}, "was not counted (edge)"),
        ({"cells": []}, "length >= 1"),
        ({"cells": [[0]]}, "Expected `array` of length 2"),
        ({"cells": [[-1, 0]]}, "Expected `int` >= 0"),
        ({"action": "praise"}, "Invalid enum value"),
        ({"action": "undo", "label": None}, "nothing was said of cell 0:0"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_a_review_that_cannot_be_is_refused_and_not_kept(
    page: Page, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    body = {"operator": "anna", "cells": [[0, 0]], "action": "relabel", "label": "lymphocyte", **changes}
    assert told in page.said(body, 422)["error"]
    assert Page(tmp_path).got(RUN)["review"]["cells"] == 0


def test_two_operators_at_two_servers_see_each_other(page: Page, tmp_path: Path) -> None:
    other = Page(tmp_path)
    other.got(RUN)
    page.said({"operator": "anna", "cells": [[0, 0]], "action": "relabel", "label": "lymphocyte"})
    answer = other.said({"operator": "ben", "cells": [[0, 0]], "action": "reject"})
    assert answer["review"]["operators"] == ["anna", "ben"]
    assert page.got(f"{RUN}/cells", view="reviewed")["cells"][0]["review"]["operator"] == "ben"


def test_signing_off_stands_until_somebody_says_something(page: Page) -> None:
    signed = page.said({"operator": "anna", "seen": 0}, path=f"{RUN}/sign")["review"]["signed_off"]
    assert signed["operator"] == "anna"
    assert page.got(RUN)["review"]["signed_off"] == signed
    assert page.got("/api/runs")["runs"][0]["signed_off"] is True
    page.said({"operator": "ben", "cells": [[0, 0]], "action": "confirm"})
    assert page.got(RUN)["review"]["signed_off"] is None
    position = page.got(RUN)["review"]["position"]
    page.said({"operator": "", "seen": position}, 422, path=f"{RUN}/sign")
    refused = page.said({"operator": "ben", "seen": position - 1}, 409, path=f"{RUN}/sign")
    assert "since you looked" in refused["error"]
    assert refused["fix"]
    assert page.got(RUN)["review"]["signed_off"] is None


def test_a_run_that_goes_on_grows_in_the_gallery_and_is_not_signed_off(tmp_path: Path) -> None:
    page = Page(tmp_path)
    with Journal.open(tmp_path) as journal, held(tmp_path, "run-a"):
        journal.append(started())
        assert page.got(RUN)["crops"] is True  # there is no cell yet to keep a picture of
        for n in range(3):
            journal.append(window(n), state=State(body=b""))
            assert page.got(f"{RUN}/cells")["total"] == 6 * (n + 1)
            told = page.got(RUN)
            assert (told["run"]["ended"], told["run"]["windows"], told["reconciles"], told["crops"]) == (
                None,
                n + 1,
                True,
                False,
            )
        refused = page.said({"operator": "anna", "seen": 0}, 422, path=f"{RUN}/sign")
        assert "going on in another process" in refused["error"]


def test_an_erased_run_is_gone_at_once(page: Page, tmp_path: Path) -> None:
    picture = page.got(f"{RUN}/cells")["cells"][0]["picture"]
    erase.erase(tmp_path, "slide-17")
    assert page.got("/api/runs") == {"runs": []}
    assert "erased" in page.got(RUN, 410)["error"]
    page.got(f"{RUN}/cells", 410)
    page.got(picture, 410)
    page.said({"operator": "anna", "cells": [[0, 0]], "action": "confirm"}, 410)
    page.said({"operator": "anna", "seen": 0}, 410, path=f"{RUN}/sign")


def test_a_journal_that_is_damaged_is_said_so(page: Page, tmp_path: Path) -> None:
    with Reader.open(tmp_path) as reader:
        assert reader.last()[0]
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all" * 100)
    for beside in ("-wal", "-shm"):
        (tmp_path / f"journal.sqlite{beside}").unlink(missing_ok=True)
    assert "damaged" in page.got(RUN, 503)["error"]
