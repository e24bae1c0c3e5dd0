"""Who may look: a token, given once, and the cookie that stands for it from then on.

The cookie holds its end and a keyed hash of that; nothing is kept here, so it is still good after the server was started again
with the same token, and another token ends all of them.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from pathlib import Path

from edgecell import clock, keyfile
from edgecell.errors import SettingsError
from edgecell.web.answers import Refused

COOKIE = "edgecell_session"
LIFE_S = 12 * 3600
"""How long one stays signed in: a shift."""
SHORTEST = 16
"""Characters of a token in a file; a made one has 43, of 256 bits."""
TRIES, AGAIN_S = 5, 10
"""Wrong tokens from one address in a row, and seconds after which it may try once more."""
ADDRESSES = 1024
"""That are remembered for it."""


class Door:
    """token: None where none is needed. Everything is compared in constant time."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._key = b"" if token is None else hmac.digest(token.encode(), b"edgecell session", "sha256")
        self._wrong: OrderedDict[str, tuple[int, int]] = OrderedDict()

    @property
    def locked(self) -> bool:
        return self._token is not None

    def admits(self, cookie: str | None) -> bool:
        """Whether it is a cookie of this door that is still good."""
        if self._token is None:
            return True
        end, _, proof = (cookie or "").partition(".")
        if not (end.isascii() and end.isdigit() and len(end) <= 20):
            return False
        return hmac.compare_digest(self._proof(end), proof.encode()) and clock.utc_ns() < int(end) * 10**9

    def sign_in(self, token: str, address: str) -> str:
        """The cookie for who showed the right token. Raises Refused (401, 429)."""
        if self._token is None:
            return ""
        wrong, since_ns = self._wrong.get(address, (0, 0))
        forgiven = (clock.monotonic_ns() - since_ns) // (AGAIN_S * 10**9)
        wrong = max(0, wrong - forgiven)
        if wrong >= TRIES:
            raise Refused(429, "too many wrong tokens", fix=f"wait {AGAIN_S} seconds", wait_s=AGAIN_S)
        if not hmac.compare_digest(_digest(token), _digest(self._token)):
            self._remember(address, wrong + 1)
            raise Refused(
                401, "that is not the token", field="token", fix="use the address that the server printed when it began"
            )
        self._wrong.pop(address, None)
        end = str(clock.utc_ns() // 10**9 + LIFE_S)
        return f"{end}.{self._proof(end).decode()}"

    def _remember(self, address: str, wrong: int) -> None:
        self._wrong[address] = wrong, clock.monotonic_ns()
        self._wrong.move_to_end(address)
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)

    def _proof(self, end: str) -> bytes:
        return hmac.digest(self._key, end.encode(), "sha256").hex().encode()


def made_token() -> str:
    """A new one, 256 bits."""
    return secrets.token_urlsafe(32)


def token_of(path: Path) -> str:
    """The token in a file that only its owner may read. Raises SettingsError."""
    how = f"make one: (umask 077; head -c 32 /dev/urandom | base64 > {path})"
    try:
        token = keyfile.read_private(path, fix=how).decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not (token.isprintable() and len(token) >= SHORTEST):
        raise SettingsError(f"{path} holds no token of at least {SHORTEST} plain characters", fix=how)
    return token


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
