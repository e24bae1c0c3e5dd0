"""Requests to the page's server, without a server: straight to its application."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from edgecell.web.app import application
from edgecell.web.hub import Hub
from edgecell.web.runs import Runs
from edgecell.web.session import Door
from edgecell.web.station import Station

HERE = "http://127.0.0.1:8470"


def station(folder: Path, token: str | None = None, *, secure: bool = False) -> Station:
    """With the phantom slide to choose, and a bus that nobody publishes on."""
    hub = Hub()
    runs = Runs(journal=folder, settings={"phantom": None}, endpoint="tcp://127.0.0.1:9", hub=hub)
    return Station(journal=folder, hub=hub, runs=runs, door=Door(token), secure=secure)


def requested(at: Station, method: str, path: str, *, base: str = HERE, numbers: bool = False, **more: Any) -> httpx.Response:
    """The answer to one request. more: as httpx has it (json, content, headers, cookies)."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=application(at, numbers=numbers))
        cookies = more.pop("cookies", None)
        async with httpx.AsyncClient(transport=transport, base_url=base, cookies=cookies) as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())
