"""Where the page is served: this machine, or with a token and TLS another interface of it."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from edgecell.errors import SettingsError

DEFAULT = "127.0.0.1:8470"
_PAIR = "give both: --tls-cert with the certificate and --tls-key with its key, as PEM files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """host: an address in numbers. port: 0 for any free one."""

    host: str
    port: int

    @property
    def here(self) -> bool:
        """Whether it can be reached from this machine only."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def anywhere(self) -> bool:
        """All interfaces."""
        return ipaddress.ip_address(self.host).is_unspecified

    @property
    def shown(self) -> str:
        """As a browser is told it."""
        host = socket.gethostname() if self.anywhere else self.host
        return f"[{host}]" if ":" in host else host

    def bound(self) -> socket.socket:
        """A socket that listens there. Raises SettingsError."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
            made.listen(128)
        except OSError as error:
            made.close()
            fix = "choose another port: --listen ADDRESS:PORT"
            raise SettingsError(f"cannot listen on {self.host}:{self.port}: {error.strerror}", fix=fix) from None
        return made


def address(text: str) -> Address:
    """HOST:PORT. Raises SettingsError."""
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise SettingsError(f"--listen {text!r} is not ADDRESS:PORT", fix=f"write e.g. {DEFAULT}, the address in numbers")
    return Address(host=host, port=number)


def check_tls(where: Address, cert: Path | None, key: Path | None) -> bool:
    """Whether it is served under TLS. Raises SettingsError where it must be and is not, or for files that are no pair."""
    if cert is None and key is None:
        if not where.here:
            what = f"--listen {where.host} can be reached from other machines, and that needs TLS"
            raise SettingsError(what, fix=f"{_PAIR}; or stay on this machine: --listen {DEFAULT}")
        return False
    if cert is None or key is None:
        raise SettingsError(f"--tls-{'cert' if cert is None else 'key'} is missing", fix=_PAIR)
    for file in (cert, key):
        if not file.is_file():
            raise SettingsError(f"{file} is no file", fix=_PAIR)
    if key.stat().st_mode & 0o077:
        raise SettingsError(f"private key {key} is open to others", fix=f"chmod 600 {key}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_none)
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise SettingsError(f"{cert} and {key} are no certificate and its key: {why}", fix=_PAIR) from None
    return True


def _none() -> str:
    """In place of a question on the terminal."""
    return ""


def names_of(where: Address, given: tuple[str, ...]) -> frozenset[str]:
    """Hosts by which the page may be asked for."""
    own = {"localhost", "127.0.0.1", "::1"} if where.here or where.anywhere else set()
    host = {where.host} if where.here else {where.host, socket.gethostname().lower()}
    return frozenset({*own, *host, *(name.lower() for name in given)})
