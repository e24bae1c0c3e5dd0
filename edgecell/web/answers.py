"""What every route shares: JSON in, JSON out with the research notice, and a refusal that says what to do."""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edgecell.errors import EdgecellError, JournalError, MissingDependency, SettingsError
from edgecell.messages import NOTICE

LOG = logging.getLogger(__name__)
JSON = "application/json"
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Refused(Exception):
    """A request that is not granted. status: of HTTP. field: of the request's body, "" where it is not about one."""

    def __init__(self, status: int, what: str, *, fix: str = "", field: str = "", wait_s: int = 0) -> None:
        self.status, self.what, self.fix, self.field, self.wait_s = status, what, fix, field, wait_s
        super().__init__(what)


def answer(told: Mapping[str, Any], status: int = 200) -> Response:
    """An object as JSON, with the notice."""
    return Response(msgspec.json.encode({**told, "notice": NOTICE}), status, media_type=JSON)


async def asked(request: Request, struct: type[Struct]) -> Struct:
    """The body as `struct`. Raises Refused (415, 422) that names the field."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refused(415, "the body is not JSON", fix=f"send it with Content-Type: {JSON}")
    try:
        return msgspec.json.decode(await request.body(), type=struct)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        if "matching regex" in text:  # of a name: nobody who fills in a form reads a pattern
            text = "a name is needed, of printed characters"
        raise Refused(422, text, field=place.strip("`.").partition("[")[0], fix="correct that value") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(422, f"the body cannot be read: {error}", fix="send one JSON object") from None


def refusal(_: Request, error: Exception) -> Response:
    """What a Refused, an error of edgecell's or one of starlette's looks like to who asked."""
    if isinstance(error, Refused):
        response = answer({"error": error.what, "field": error.field, "fix": error.fix}, error.status)
        if error.wait_s:
            response.headers["Retry-After"] = str(error.wait_s)
        return response
    if isinstance(error, HTTPException):
        return answer({"error": error.detail, "field": "", "fix": ""}, error.status_code)
    if isinstance(error, EdgecellError):
        status = (
            422 if isinstance(error, SettingsError) else 503 if isinstance(error, JournalError | MissingDependency) else 500
        )
        LOG.warning("a request failed: %s", error)
        return answer({"error": error.what, "field": "", "fix": error.fix}, status)
    LOG.error("a request failed unexpectedly", exc_info=error)
    return answer({"error": "the server failed unexpectedly", "field": "", "fix": "see its log"}, 500)
