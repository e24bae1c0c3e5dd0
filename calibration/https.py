"""HTTPS requests of the workshop: no redirect leads away from HTTPS, and what may pass is told from what is final."""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO
from urllib.parse import urlsplit

from edgecell.errors import EdgecellError

TIMEOUT_S = 60.0
LONGEST_WAIT_S = 60.0
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be gone a moment later; any other error status is final."""


class DownloadFailed(EdgecellError):
    """A file could not be fetched, or is not the published one."""


class Broken(Exception):
    """This attempt failed; another may do better. wait_s: how long the server asks us to wait."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class OutOfRange(Exception):
    """The server has no byte from the asked one on (status 416). said: its Content-Range, such as `bytes */1234`."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def get(url: str, headers: Mapping[str, str], *, loopback: bool) -> http.client.HTTPResponse:
    """The answer to a GET, its body still to be read. loopback: plain HTTP to 127.0.0.1 is allowed (tests).

    Raises DownloadFailed, Broken or OutOfRange.
    """
    request = urllib.request.Request(_safe(url, loopback=loopback), headers=dict(headers))  # noqa: S310 _safe checks the scheme
    handlers: list[urllib.request.BaseHandler] = [_SafeRedirects(loopback=loopback)]
    if loopback:
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(url, error) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadFailed(f"{url}: {error.reason}", fix="mend this machine's certificates or its clock") from error
        raise Broken(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"no answer: {str(error) or type(error).__name__}") from error
    return response


def _refused(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code == 416:
        return OutOfRange(error.headers.get("Content-Range", ""))
    said = f"the server answers {error.code} {error.reason}"
    if error.code in PASSING:
        asked = error.headers.get("Retry-After", "")
        return Broken(said, min(LONGEST_WAIT_S, float(asked)) if asked.isdigit() else 0.0)
    return DownloadFailed(f"{url}: {said}", fix="look at the dataset's page: the file may have moved")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        return super().redirect_request(req, fp, code, msg, headers, _safe(newurl, loopback=self._loopback))


def _safe(url: str, *, loopback: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" or (loopback and parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        return url
    raise DownloadFailed(f"{url} is not HTTPS", fix="fetch the file by hand, if you trust that address")
