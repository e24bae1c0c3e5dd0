"""Routes: who is asking, what happens now, and the run that is begun and stopped."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgecell import __version__
from edgecell.web.answers import answer, asked
from edgecell.web.choices import choices
from edgecell.web.hub import Browser, Hub
from edgecell.web.session import COOKIE, LIFE_S
from edgecell.web.start import Start
from edgecell.web.station import station_of


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: str


def me(request: Request) -> Response:
    """Who is asking; what may be begun only for who is signed in."""
    station = station_of(request)
    inside = station.door.admits(request.cookies.get(COOKIE))
    told = {"version": __version__, "token_needed": station.door.locked, "signed_in": inside}
    return answer({**told, "settings": choices(station.runs.settings) if inside else []})


async def login(request: Request) -> Response:
    station = station_of(request)
    body = await asked(request, Login)
    cookie = station.door.sign_in(body.token, request.client.host if request.client else "")
    response = Response(status_code=204)
    if cookie:
        response.set_cookie(COOKIE, cookie, max_age=LIFE_S, httponly=True, samesite="strict", secure=station.secure)
    return response


class _Events(StreamingResponse):
    """Events without end. Its browser has joined, or many at once would find room, and leaves however this ends."""

    def __init__(self, hub: Hub, browser: Browser) -> None:
        super().__init__(browser.events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._hub, self._browser = hub, browser

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.part(self._browser)


async def live(request: Request) -> Response:
    hub = station_of(request).hub
    return _Events(hub, hub.join())


async def preview(request: Request) -> Response:
    """Nothing where it is gone: a browser that was held up asks for old ones, and would call that an error on its console."""
    picture = station_of(request).hub.picture(request.path_params["number"])
    return Response(status_code=204) if picture is None else Response(picture, media_type="image/jpeg")


async def begin(request: Request) -> Response:
    body = await asked(request, Start)
    return answer(msgspec.to_builtins(station_of(request).runs.begin(body)), 202)


async def stop(request: Request) -> Response:
    return answer(msgspec.to_builtins(station_of(request).runs.stop()), 202)


ROUTES = (
    Route("/api/me", me),
    Route("/api/login", login, methods=["POST"]),
    Route("/api/live", live),
    Route("/api/preview/{number:int}.jpg", preview),
    Route("/api/run", begin, methods=["POST"]),
    Route("/api/run", stop, methods=["DELETE"]),
)
