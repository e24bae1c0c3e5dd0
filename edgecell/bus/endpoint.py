"""Where a publisher listens and a listener connects: tcp://HOST:PORT or ipc://PATH, checked before libzmq sees it."""

import errno
import ipaddress
import os
import socket
from pathlib import Path

import zmq

from edgecell.errors import PublishError, SettingsError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5556"
EXAMPLES = f"{DEFAULT_ENDPOINT} or ipc:///tmp/edgecell.sock"

KEYS_FIX = (
    "edgecell keys new device --kind bus --out keys, and under [publisher] write "
    'server_key = "keys/device.bus.key" and allow = "keys/allowed", a folder with the .bus.pub file of each listener'
)
"""How a bus gets the keys that it needs before another machine may reach it."""


def bindable(endpoint: str, *, encrypted: bool) -> str:
    """The endpoint as libzmq wants it. Raises SettingsError unless it is well formed, and on this machine only or encrypted."""
    if endpoint.startswith("ipc://") and endpoint != "ipc://":
        return endpoint
    host, port = split_tcp(endpoint)
    host = "127.0.0.1" if host == "localhost" else host  # libzmq binds to addresses, not to names
    if not encrypted and not _is_loopback(host):
        what = f"endpoint {endpoint!r} can be reached from outside this machine, and that needs keys"
        raise SettingsError(what, fix=f"{KEYS_FIX}; or stay on this machine: {EXAMPLES}")
    return f"tcp://{host}:{port}"


def local(endpoint: str) -> bool:
    """Whether a well-formed endpoint can be reached from this machine only."""
    return endpoint.startswith("ipc://") or _is_loopback(split_tcp(endpoint)[0])


def connectable(endpoint: str) -> str:
    """The endpoint if one can connect to it: tcp://HOST:PORT or ipc://PATH, without wildcards. Raises SettingsError."""
    if endpoint.startswith("ipc://") and endpoint not in ("ipc://", "ipc://*"):
        return endpoint
    host, port = split_tcp(endpoint)
    if "*" in (host, port):
        raise SettingsError(f"endpoint {endpoint!r} has a wildcard", fix=f"name host and port, e.g. {DEFAULT_ENDPOINT}")
    return endpoint


def split_tcp(endpoint: str) -> tuple[str, str]:
    """Host and port of tcp://HOST:PORT, where PORT is 1 to 65535 or *. Raises SettingsError."""
    transport, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if transport != "tcp" or not host or any(each.isspace() for each in host) or not (port == "*" or 1 <= number <= 65535):
        raise SettingsError(f"endpoint {endpoint!r} is not tcp://HOST:PORT or ipc://PATH", fix=f"write e.g. {EXAMPLES}")
    return host, port


def beside(endpoint: str) -> str:
    """Where replays are asked for unless the settings say otherwise: the next port (* stays *), or the path with `.replay`."""
    if endpoint.startswith("ipc://"):
        return endpoint if endpoint == "ipc://*" else f"{endpoint}.replay"
    host, port = split_tcp(endpoint)
    if port == "65535":
        raise SettingsError(f"endpoint {endpoint!r} has no next port for replays", fix="write replay = ... under [publisher]")
    return f"tcp://{host}:{port if port == '*' else int(port) + 1}"


def seen_from(endpoint: str, announced: str) -> str:
    """Where a listener of `endpoint` finds what the device announced: on the host that it knows, for the device may not know
    how it is reached. Raises SettingsError for an announcement that is no endpoint,
    or a local socket of another machine."""
    announced = connectable(announced)
    if announced.startswith("ipc://") and not (endpoint.startswith("ipc://") or _is_loopback(split_tcp(endpoint)[0])):
        raise SettingsError(f"{endpoint} says to ask at {announced}, which is on another machine", fix="set replay = tcp://...")
    if announced.startswith("ipc://") or endpoint.startswith("ipc://"):
        return announced
    return f"tcp://{split_tcp(endpoint)[0]}:{split_tcp(announced)[1]}"


def check_ipc(endpoint: str, setting: str = "endpoint") -> None:
    """libzmq deletes whatever lies at the path before it binds: a file, or the socket of a publisher that is running.

    setting: what names it under [publisher]. Raises PublishError; nothing for what is no ipc endpoint.
    """
    name = endpoint.removeprefix("ipc://")
    if name in (endpoint, "*") or name.startswith("@"):  # libzmq chooses a path, or there is none (abstract socket)
        return
    path = Path(name)
    if "\0" in name or len(os.fsencode(name)) > zmq.IPC_PATH_MAX_LEN:
        what = f"cannot listen on {endpoint}: that is no path of at most {zmq.IPC_PATH_MAX_LEN} bytes"
        raise PublishError(what, fix="choose a shorter path")
    if not path.parent.is_dir():
        raise PublishError(f"cannot listen on {endpoint}: no folder {path.parent}", fix=f"mkdir -p {path.parent}")
    if path.exists() and not path.is_socket():
        raise PublishError(f"cannot listen on {endpoint}: {path} is there and is no socket", fix="choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return  # nobody listens: not there, or left behind
    raise in_use(endpoint, setting)


def in_use(endpoint: str, setting: str = "endpoint") -> PublishError:
    """Somebody else listens there."""
    find = f"ss -ltnp 'sport = :{endpoint.rpartition(':')[2]}'" if endpoint.startswith("tcp") else "ss -lxp"
    choose = f'set another {setting} under [publisher] ("tcp://127.0.0.1:*" takes any free port)'
    fix = f"{choose}, or find who has it: {find}"
    return PublishError(f"cannot listen on {endpoint}: it is in use", fix=fix)


def file_of(endpoint: str) -> int | None:
    """The inode of a local socket; None where there is none, as of TCP and of abstract sockets."""
    if not endpoint.startswith("ipc://"):
        return None
    try:
        return Path(endpoint.removeprefix("ipc://")).stat().st_ino
    except OSError:
        return None


def bind_error(endpoint: str, error: zmq.ZMQError, setting: str = "endpoint") -> PublishError:
    """What libzmq said when it was to listen there."""
    if error.errno == errno.EADDRINUSE:
        return in_use(endpoint, setting)
    return PublishError(f"cannot listen on {endpoint}: {error.strerror}", fix=f"use another endpoint, e.g. {EXAMPLES}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
