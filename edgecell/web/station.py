"""What all routes work with."""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from edgecell.web.hub import Hub
from edgecell.web.runs import Runs
from edgecell.web.session import Door


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Station:
    """journal: its folder, where runs are kept, read and reviewed. secure: served under TLS."""

    journal: Path
    hub: Hub
    runs: Runs
    door: Door
    secure: bool = False


def station_of(request: Request) -> Station:
    """The one that this request is answered from."""
    station: Station = request.app.state.station
    return station
