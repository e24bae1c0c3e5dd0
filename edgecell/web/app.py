"""The application: routes over one station, behind the guard."""

import asyncio
from collections.abc import Collection
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from edgecell.errors import EdgecellError
from edgecell.web import gallery, live, reports
from edgecell.web.answers import Refused, refusal
from edgecell.web.guard import Guard
from edgecell.web.shelf import Shelf
from edgecell.web.station import Station

STATIC = Path(__file__).parent / "static"
ROUTES: tuple[BaseRoute, ...] = (*live.ROUTES, *gallery.ROUTES, *reports.ROUTES)
"""Of the API. What is under no route is a file of the page."""


def application(
    station: Station, *, names: Collection[str] = ("localhost", "127.0.0.1", "::1"), numbers: bool = False
) -> Starlette:
    """names, numbers: hosts that are served, as in Guard."""
    app = Starlette(
        routes=[*ROUTES, Mount("/", StaticFiles(directory=STATIC, html=True))],
        middleware=[Middleware(Guard, door=station.door, names=names, numbers=numbers)],
        exception_handlers=dict.fromkeys((Refused, HTTPException, EdgecellError, Exception), refusal),
    )
    app.state.station, app.state.shelf, app.state.reporting = station, Shelf(station.journal), asyncio.Lock()
    return app
