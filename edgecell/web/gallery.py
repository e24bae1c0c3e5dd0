"""Routes: the runs, the cells of one with their pictures, what people say of them, and signing a run off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgecell.errors import JournalBlocked, JournalError, SettingsError
from edgecell.journal.cells import LABEL, ORDERS, Order, RunCells
from edgecell.journal.events import Action, Index
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews
from edgecell.journal.standing import Place
from edgecell.web.answers import Refused, answer, asked
from edgecell.web.shelf import Shelf, told

PAGE, MOST = 200, 500
"""Cells of a page: unless told otherwise, and at most."""
VIEWS = ("all", "unsure", "excluded", "reviewed")
KEPT_S = 3600
"""Seconds that a browser may keep a picture: it never changes, and an erased sample's must not stay for long."""
Value = TypeVar("Value")


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a review. cells: each as [frame, cell]."""

    operator: str
    cells: Annotated[list[tuple[Index, Index]], msgspec.Meta(min_length=1)]
    action: Action
    label: str | None = None


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a sign-off. seen: the `position` of the review that was on the screen: nobody signs what they did not see."""

    operator: str
    seen: Index


async def runs(request: Request) -> Response:
    shelf = _shelf(request)
    return answer({"runs": await _in_turn(shelf, shelf.runs)})


async def run(request: Request) -> Response:
    shelf, run_id = _shelf(request), _run_id(request)
    return answer(await _in_turn(shelf, lambda: _of_run(shelf.cells(run_id))))


async def cells(request: Request) -> Response:
    """A page of a view."""
    shelf, run_id, params = _shelf(request), _run_id(request), request.query_params
    view, order = _view(params.get("view", "all")), _order(params.get("order", "doubtful"))
    offset, limit = _number(request, "offset", 0, None), _number(request, "limit", PAGE, MOST)

    def page() -> dict[str, Any]:
        known = shelf.cells(run_id)
        places = known.view(view, order)
        return {"total": len(places), "cells": _listed(shelf, known, places[offset : offset + limit])}

    return answer(await _in_turn(shelf, page))


async def picture(request: Request) -> Response:
    shelf, run_id = _shelf(request), _run_id(request)
    place = request.path_params["frame"], request.path_params["cell"]
    png, sha256 = await _in_turn(shelf, lambda: shelf.picture(run_id, place))
    headers = {"Cache-Control": f"private, max-age={KEPT_S}, immutable", "ETag": f'"{sha256}"'}
    return Response(png, media_type="image/png", headers=headers)


async def say(request: Request) -> Response:
    """A word of some cells, all or none."""
    shelf, run_id, body = _shelf(request), _run_id(request), await asked(request, Said)

    def kept() -> dict[str, Any]:
        known = shelf.cells(run_id)
        with Reviews.open(shelf.journal) as reviews, _reviewing():
            review(reviews, known, body.cells, body.action, body.label or "", body.operator)
        known.refresh(shelf.journal)
        _, reviewed = known.differentials()
        changed = _listed(shelf, known, list(dict.fromkeys(body.cells)))
        return {
            "reviewed": reviewed,
            "views": known.views(),
            "review": _review(known),
            "cells": changed,
        }

    return answer(await _in_turn(shelf, kept))


async def sign(request: Request) -> Response:
    """Somebody stands by the counts as they are now."""
    shelf, run_id, body = _shelf(request), _run_id(request), await asked(request, Signed)

    def signed() -> dict[str, Any]:
        known = shelf.cells(run_id)
        if known.standing.position != body.seen:
            raise Refused(409, "somebody else reviewed or signed since you looked", fix="look at the counts, and sign again")
        with Reviews.open(shelf.journal) as reviews, _reviewing():
            sign_off(reviews, known, body.operator)
        known.refresh(shelf.journal)
        return {"review": _review(known)}

    return answer(await _in_turn(shelf, signed))


_RUN = "/api/runs/{run:str}"
ROUTES = (
    Route("/api/runs", runs),
    Route(_RUN, run),
    Route(f"{_RUN}/cells", cells),
    Route(f"{_RUN}/cells/{{frame:int}}/{{cell:int}}.png", picture),
    Route(f"{_RUN}/reviews", say, methods=["POST"]),
    Route(f"{_RUN}/sign", sign, methods=["POST"]),
)


async def _in_turn(shelf: Shelf, work: Callable[[], Value]) -> Value:
    """In a worker thread, one at a time."""
    async with shelf.turn:
        return await run_in_threadpool(work)


@contextmanager
def _reviewing() -> Iterator[None]:
    """What cannot be said is the asker's to hear, and no fault of the server. Raises Refused."""
    try:
        yield
    except JournalBlocked:
        raise
    except (JournalError, SettingsError) as error:
        raise Refused(422, error.what, fix=error.fix) from None


def _of_run(known: RunCells) -> dict[str, Any]:
    machine, reviewed = known.differentials()
    return {
        "run": told(known.run),
        "classes": [_class(known, label) for label in known.labels],
        "frames": known.totals.frames,
        "cumulative": dict(known.machine.counts),
        "unsure": known.machine.unsure,
        "excluded": dict(known.machine.excluded),
        "machine": machine,
        "reviewed": reviewed,
        "review": _review(known),
        "crops": known.crops,
        "views": known.views(),
        "reconciles": not known.differs,
        "differs": known.differs,
    }


def _review(known: RunCells) -> dict[str, Any]:
    """position: of the latest event about the run in the chain of reviews, 0 for none."""
    return {**known.standing.told(known.run.windows), "position": known.standing.position}


def _class(known: RunCells, label: str) -> dict[str, Any]:
    """A label that no bundle explains (a kind of cell) stands for itself."""
    meaning = known.classes.get(label)
    return {
        "label": label,
        "abbreviation": meaning.abbreviation if meaning else label,
        "group": meaning.group if meaning else "other",
        "in_differential": bool(meaning and meaning.in_differential),
    }


def _listed(shelf: Shelf, known: RunCells, places: Sequence[Place]) -> list[dict[str, Any]]:
    listed = [told for told in map(known.told, places) if told is not None]
    kept = shelf.kept(known.run_id, [place for place in places if known.pictured(place)])
    for each in listed:
        place = each["frame"], each["cell"]
        each["picture"] = f"/api/runs/{known.run_id}/cells/{place[0]}/{place[1]}.png" if place in kept else None
    return listed


def _shelf(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


def _run_id(request: Request) -> str:
    run_id: str = request.path_params["run"]
    return run_id


def _view(asked_for: str) -> str:
    if asked_for in VIEWS or asked_for.startswith(LABEL):
        return asked_for
    raise Refused(422, f"there is no view {asked_for[:64]!r}", field="view", fix=f"ask for {', '.join(VIEWS)} or {LABEL}LABEL")


def _order(asked_for: str) -> Order:
    for order in ORDERS:
        if order == asked_for:
            return order
    raise Refused(422, f"there is no order {asked_for[:64]!r}", field="order", fix=f"ask for {' or '.join(ORDERS)}")


def _number(request: Request, name: str, usual: int, most: int | None) -> int:
    text = request.query_params.get(name, str(usual))
    if text.isascii() and text.isdigit() and len(text) < 16 and (most is None or 0 < int(text) <= most):
        return int(text)
    limits = "a whole number" if most is None else f"1 to {most}"
    raise Refused(422, f"{name} is {text[:64]!r}", field=name, fix=f"give {limits}")
