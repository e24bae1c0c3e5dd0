"""What the page is tested against: the answers that its server gives, over 20,000 made cells with drawn pictures.

A stand-in for `edgecell serve`, since a test of the page wants to choose what the device says; the real one has tests of its
own. `python tests/page_server.py 8080` serves it to look at.
"""

import asyncio
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import uvicorn
from bus_messages import counts_message, heartbeat
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecell import bundle, wire
from edgecell.messages import NOTICE, Tally
from edgecell.tally import differential

STATIC = Path(wire.__file__).parent / "web/static"
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
RUN = "20260131T120000-bench-3"
CLASSES = {each.name: each for each in bundle.open_bundle("pbc8").manifest.classes}
NAMES = list(CLASSES)
EXTENSIONS = ("pdf", "csv", "fhir.json", "json")


def made_cells(number: int) -> list[dict[str, Any]]:
    """Cells as the gallery gives them; one in ten unsure, one in twenty excluded."""
    made = []
    for i in range(number):
        confidence = 0.35 + 0.65 * ((i * 7919) % 1000) / 1000
        excluded = "edge" if i % 20 == 7 else None
        cell = {"frame": i // 20, "cell": i % 20, "kind": "nucleated", "label": "" if excluded else NAMES[(i * i + i // 7) % 8]}
        cell |= {"confidence": None if excluded else round(confidence, 4), "decided": not excluded and confidence > 0.415}
        cell |= {"excluded": excluded, "review": None, "picture": f"/api/runs/{RUN}/cells/{i // 20}/{i % 20}.png"}
        made.append(cell)
    return made


@dataclass
class Station:
    """A device with one run. token: "" where none is needed. said: what /api/live tells, the last of each event."""

    cells: list[dict[str, Any]] = field(default_factory=lambda: made_cells(20_000))
    token: str = ""
    crops: bool = True
    said: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    refuse: dict[str, str] | None = None
    signed: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None

    def say(self, event: str, data: Any) -> None:
        """From any thread: what every page is told."""
        self.said[event] = data
        if self.loop:
            self.loop.call_soon_threadsafe(self.changed.set)

    def standing(self, cell: dict[str, Any]) -> str:
        """The view that a cell is in: its label, unsure or excluded."""
        review = cell["review"]
        if review is None:
            return "excluded" if cell["excluded"] else str(cell["label"]) if cell["decided"] else "unsure"
        return "excluded" if review["action"] == "reject" else str(review["label"])

    def views(self) -> dict[str, int]:
        found = Counter(self.standing(cell) for cell in self.cells)
        reviewed = sum(cell["review"] is not None for cell in self.cells)
        return {
            **dict.fromkeys(NAMES, 0),
            **found,
            "unsure": found["unsure"],
            "excluded": found["excluded"],
            "reviewed": reviewed,
        }

    def share(self, *, reviewed: bool) -> Any:
        bare = ({**cell, "review": cell["review"] if reviewed else None} for cell in self.cells)
        return msgspec.to_builtins(differential(Tally(counts=Counter(map(self.standing, bare))), CLASSES))

    def review(self) -> dict[str, Any]:
        operators = {cell["review"]["operator"]: None for cell in self.cells if cell["review"]}
        signed = {"operator": self.signed, "utc": "2026-01-31T13:00:00.000Z"} if self.signed else None
        return {
            "cells": self.views()["reviewed"],
            "operators": list(operators),
            "signed_off": signed,
            "position": len(self.asked),
        }


def begin(station: Station) -> None:
    """The device runs: what a page is told when it connects."""
    who = {"sample_id": "slide-17", "operator": "ada", "begun_utc": "2026-01-31T12:00:00.000Z", "error": "", "fix": ""}
    station.said["run"] = {"run_id": RUN, "state": "running", **who}
    station.said["counts"] = counts_of()
    station.said["preview"] = previewed()
    station.said["heartbeat"] = heartbeat_of()


def counts_of(**changes: Any) -> Any:
    """The event `counts`."""
    return json.loads(wire.to_wire(counts_message(run_id=RUN, **changes))[1])


def heartbeat_of(**changes: Any) -> Any:
    """The event `heartbeat`."""
    return json.loads(wire.to_wire(heartbeat(run_id=RUN, **changes))[1])


def previewed(frame: int = 12, **changes: Any) -> dict[str, Any]:
    """The event `preview`: three cells on a frame twice as large as its picture."""
    fields: dict[str, Any] = {"run_id": RUN, "sequence": frame, "frame_index": frame, "width_px": 2048, "height_px": 1280}
    fields |= {"accepted": True, "reason": "", "focus": 9.0, "mean_level": 0.7, "saturated_fraction": 0.0}
    fields["cells"] = [
        {"kind": "nucleated", "label": label, "confidence": 0.9, "decided": decided, "excluded": excluded, "box_px": box}
        for label, decided, excluded, box in [
            ("neutrophil", True, None, [220, 240, 380, 400]),
            ("monocyte", False, None, [960, 520, 1120, 680]),
            ("", False, "edge", [1520, 880, 1680, 1040]),
        ]
    ]
    return {**fields, "picture": f"/api/preview/{frame}.jpg", "notice": NOTICE, **changes}


def application(station: Station) -> ASGIApp:
    """The routes of the page's contract that a page needs to be looked at."""

    def answer(body: Any, status: int = 200) -> Response:
        return JSONResponse({**body, "notice": NOTICE}, status)

    def allowed(request: Request) -> bool:
        return not station.token or request.cookies.get("session") == "yes"

    async def me(request: Request) -> Response:
        settings: list[dict[str, Any]] = [{"name": "phantom", "path": "/etc/edgecell/phantom.toml", "specimen": "blood"}]
        settings[0] |= {"classes": [name for name in NAMES if CLASSES[name].in_differential], "error": "", "fix": ""}
        head = {"version": "1.0.0", "token_needed": bool(station.token), "signed_in": allowed(request)}
        return answer({**head, "settings": settings if allowed(request) else []})

    async def login(request: Request) -> Response:
        if (await request.json())["token"] != station.token:
            return answer({"error": "wrong token"}, 401)
        response = Response(status_code=204)
        response.set_cookie("session", "yes", httponly=True, samesite="strict")
        return response

    async def live(request: Request) -> Response:
        station.loop = asyncio.get_running_loop()

        async def events() -> AsyncIterator[str]:
            sent: dict[str, Any] = {}
            while True:
                station.changed.clear()
                for event, data in list(station.said.items()):
                    if sent.get(event) is not data:
                        yield f"event: {event}\ndata: {json.dumps(data)}\n\n"
                        sent[event] = data
                await station.changed.wait()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def control(request: Request) -> Response:
        body = await request.json() if request.method == "POST" else None
        station.asked.append((request.method, body))
        return answer(station.refuse, 422) if station.refuse else answer({}, 202)

    async def runs(request: Request) -> Response:
        run = {"run_id": RUN, "sample_id": "slide-17", "operator": "ada", "begun_utc": "2026-01-31T12:00:00.000Z"}
        return answer(
            {"runs": [{**run, "ended": "stopped", "windows": 12, "n": 17_000, "reviewed": station.views()["reviewed"]}]}
        )

    async def one_run(request: Request) -> Response:
        classes = [{"label": each.name, **msgspec.to_builtins(each)} for each in CLASSES.values()]
        run = {"run_id": RUN, "sample_id": "slide-17", "operator": "ada", "begun_utc": "2026-01-31T12:00:00.000Z"}
        shares = {"machine": station.share(reviewed=False), "reviewed": station.share(reviewed=True)}
        head = {"run": {**run, "ended": "stopped"}, "classes": classes, "crops": station.crops}
        return answer(
            {**head, **shares, "reconciles": True, "differs": "", "review": station.review(), "views": station.views()}
        )

    async def cells(request: Request) -> Response:
        asked = request.query_params
        view = asked["view"].removeprefix("label:")
        chosen = [
            cell
            for cell in station.cells
            if view == "all" or station.standing(cell) == view or (view == "reviewed" and cell["review"])
        ]
        if asked["order"] == "doubtful":
            chosen.sort(key=lambda cell: cell["confidence"] or 0.0)
        offset, limit = int(asked["offset"]), int(asked["limit"])
        return answer({"total": len(chosen), "cells": chosen[offset : offset + limit]})

    async def picture(request: Request) -> Response:
        return Response(
            drawn(int(request.path_params["frame"]) * 20 + int(request.path_params["cell"])), media_type="image/png"
        )

    async def review(request: Request) -> Response:
        body = await request.json()
        station.asked.append(("review", body))
        if station.refuse:
            return answer(station.refuse, 422)
        changed = [station.cells[frame * 20 + cell] for frame, cell in body["cells"]]
        for cell in changed:
            who = {"action": body["action"], "operator": body["operator"], "utc": "2026-01-31T12:30:00.000Z"}
            said = body["label"] if body["action"] == "relabel" else cell["label"]
            station.signed = ""
            cell["review"] = None if body["action"] == "undo" else {**who, "label": said}
        shares = {"reviewed": station.share(reviewed=True)}
        return answer({**shares, "views": station.views(), "review": station.review(), "cells": changed})

    async def sign(request: Request) -> Response:
        station.signed = (await request.json())["operator"]
        return answer({})

    async def report(request: Request) -> Response:
        return Response(b"report", headers={"Content-Disposition": 'attachment; filename="report"'})

    here = f"/api/runs/{RUN}"
    bare = Starlette(
        routes=[
            Route("/api/me", me),
            Route("/api/login", login, methods=["POST"]),
            Route("/api/live", live),
            Route("/api/run", control, methods=["POST", "DELETE"]),
            Route("/api/preview/{number:int}.jpg", preview),
            Route("/api/runs", runs),
            *(Route(f"{here}/report.{each}", report) for each in EXTENSIONS),
            Route(here, one_run),
            Route(f"{here}/cells", cells),
            Route(f"{here}/cells/{{frame:int}}/{{cell:int}}.png", picture),
            Route(f"{here}/reviews", review, methods=["POST"]),
            Route(f"{here}/sign", sign, methods=["POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ]
    )

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await bare(scope, receive, dressed)

    return guarded


def drawn(number: int) -> bytes:
    """A round cell with a nucleus of several lobes, as PNG; its stain, size and lobes follow its number."""
    dice = np.random.default_rng(number % 97)
    image = np.full((80, 80, 3), (236, 224, 228), np.uint8)
    cv2.circle(
        image, (40, 40), int(dice.integers(22, 34)), [int(value) for value in dice.integers(150, 215, 3)], -1, cv2.LINE_AA
    )
    for _ in range(int(dice.integers(1, 5))):
        x, y = (int(value) for value in dice.integers(30, 50, 2))
        cv2.circle(image, (x, y), int(dice.integers(7, 13)), (132, 52, 96), -1, cv2.LINE_AA)
    return cv2.imencode(".png", image)[1].tobytes()


async def preview(request: Request) -> Response:
    """A field of drawn cells."""
    image = np.full((640, 1024, 3), (236, 224, 228), np.uint8)
    for x, y in [(150, 160), (520, 300), (800, 480)]:
        cv2.circle(image, (x, y), 38, (200, 170, 200), -1, cv2.LINE_AA)
        cv2.circle(image, (x, y), 22, (132, 52, 96), -1, cv2.LINE_AA)
    return Response(cv2.imencode(".jpg", image)[1].tobytes(), media_type="image/jpeg")


@contextmanager
def serving(station: Station, port: int = 0) -> Iterator[str]:
    """The page's address while it is served, by a thread of this process."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(application(station), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    told = Station()
    begin(told)
    with serving(told, int(sys.argv[1])) as address:
        print(address, flush=True)
        threading.Event().wait()
