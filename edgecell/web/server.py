"""The server: one process of its own, one thread for all browsers."""

import asyncio
import signal
import socket
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from edgecell.web import listening
from edgecell.web.app import application
from edgecell.web.station import Station

MOST_CONNECTIONS = 128
LEAVE_S = 2
"""Seconds that answers under way may still take when the server ends."""
Task = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """Where runs publish. key, server_key: as of edgecell.client.Subscriber."""

    endpoint: str
    key: Path | None = None
    server_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    cert: Path
    key: Path


def serve(station: Station, bus: Bus, sock: socket.socket, tls: Tls | None, names: Collection[str], *, numbers: bool) -> None:
    """Until SIGINT or SIGTERM. The run that goes on then goes on. Raises JournalError, SettingsError."""
    app = application(station, names=names, numbers=numbers)
    tasks: tuple[Task, ...] = (
        lambda: listening.relay_messages(bus.endpoint, bus.key, bus.server_key, station.hub, station.runs),
        lambda: listening.relay_previews(bus.endpoint, bus.key, bus.server_key, station.hub),
    )
    asyncio.run(_serve(station, _Server(_config(app, tls)), sock, tasks))


async def _serve(station: Station, server: "_Server", sock: socket.socket, tasks: Collection[Task]) -> None:
    def end() -> None:
        station.hub.close()
        server.should_exit = True

    station.runs.open()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    going = [asyncio.create_task(each()) for each in tasks]
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        done, _ = await asyncio.wait([serving, *going], return_when=asyncio.FIRST_COMPLETED)
        end()
        await serving
        for each in done:
            each.result()
    finally:
        for each in going:
            each.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        await station.runs.close()


class _Server(uvicorn.Server):
    """One that leaves the signals to `_serve`: uvicorn would raise them once more at its end, and exit with their code."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Starlette, tls: Tls | None) -> uvicorn.Config:
    """No header of a proxy is believed: whoever asks could write one."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=LEAVE_S,
        ssl_certfile=None if tls is None else str(tls.cert),
        ssl_keyfile=None if tls is None else str(tls.key),
    )
