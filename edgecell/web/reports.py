"""Routes: the report of a run, in each of its forms, to be kept as a file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgecell.errors import JournalBlocked, JournalError
from edgecell.journal.reader import Reader
from edgecell.journal.reviews import standing
from edgecell.journal.standing import Standing
from edgecell.report import fhir, form, table
from edgecell.report.collect import collect
from edgecell.report.run import RunReport
from edgecell.web.answers import JSON, Refused
from edgecell.web.station import station_of


class Form(NamedTuple):
    """write: from the journal's folder, the report, and the reviews that it is with."""

    media_type: str
    write: Callable[[Path, RunReport, Standing], bytes]


FORMS = {
    "pdf": Form("application/pdf", form.pdf),
    "csv": Form("text/csv; charset=utf-8", lambda _, report, __: table.write(report)),
    "fhir.json": Form("application/fhir+json", lambda _, report, __: fhir.write(report)),
    "json": Form(JSON, lambda _, report, __: msgspec.json.encode(report)),
}


async def report(request: Request) -> Response:
    """One at a time: drawing pages takes a core for a second, which the run needs more."""
    journal, run_id, name = station_of(request).journal, request.path_params["run"], request.path_params["form"]
    if name not in FORMS:
        raise Refused(404, f"there is no report.{name[:64]}", fix=f"ask for {', '.join(FORMS)}")
    async with request.app.state.reporting:
        content = await run_in_threadpool(_written, journal, run_id, FORMS[name])
    known = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)[:64]
    headers = {"Content-Disposition": f'attachment; filename="{known}.{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=FORMS[name].media_type, headers=headers)


ROUTES = (Route("/api/runs/{run:str}/report.{form:str}", report),)


def _written(journal: Path, run_id: str, wanted: Form) -> bytes:
    """Raises Refused for a run that cannot be reported: 404 there is none, 409 it is erased, empty or does not add up."""
    with Reader.open(journal) as reader:
        if run_id not in reader.run_ids():
            raise Refused(404, f"there is no run {run_id[:64]!r}", fix="list the runs: /api/runs")
    said = standing(journal, run_id)
    try:
        collected = collect(journal, run_id, said)
    except JournalBlocked:
        raise
    except JournalError as error:
        raise Refused(409, error.what, fix=error.fix) from None
    return wanted.write(journal, collected, said)
