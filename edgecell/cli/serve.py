"""`edgecell serve`: the page that a technician looks at."""

from pathlib import Path

import click
import msgspec

from edgecell.bus.endpoint import DEFAULT_ENDPOINT, connectable
from edgecell.errors import MissingDependency
from edgecell.messages import NOTICE
from edgecell.settings import JournalSettings

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("settings_files", metavar="[SETTINGS.toml]...", nargs=-1, type=_FILE)
@click.option("--listen", default="127.0.0.1:8470", show_default=True, metavar="ADDRESS:PORT", help="Where the page is.")
@click.option("--journal", type=click.Path(path_type=Path, file_okay=False), help="Folder where runs are kept and reviewed.")
@click.option("--bus", "endpoint", default=DEFAULT_ENDPOINT, show_default=True, metavar="ENDPOINT", help="Where runs publish.")
@click.option("--key", type=_FILE, help="Own private key, NAME.bus.key, for an encrypted bus.")
@click.option("--server-key", type=_FILE, help="The device's public key, DEVICE.bus.pub; goes with --key.")
@click.option("--token", "wants_token", is_flag=True, help="Ask for a token on this machine too; it is made and printed once.")
@click.option("--token-file", type=_FILE, help="Ask for the token in this file, which only its owner may read.")
@click.option("--tls-cert", type=_FILE, help="Certificate, PEM; needed on any other interface.")
@click.option("--tls-key", type=_FILE, help="Its private key, PEM; goes with --tls-cert.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="A name by which browsers ask for it, if not its address.")
@click.option("--json", "as_json", is_flag=True, help="Where the page is, as one JSON object.")
def command(
    settings_files: tuple[Path, ...],
    listen: str,
    journal: Path | None,
    endpoint: str,
    key: Path | None,
    server_key: Path | None,
    wants_token: bool,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    names: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the page that a technician looks at, until Ctrl-C: live picture, counts, review and report.

    Runs are begun on the page with one of the SETTINGS.toml, or without any on the phantom slide, a drawn smear. Each is a
    process of its own: it goes on when the page's server ends, and is found again by the next. Whatever was counted is in the
    journal.

    The page is for this machine only. On any other interface it needs --tls-cert and --tls-key, and a token: that of
    --token-file, or a new one in the address that is printed once.

    Needs starlette and uvicorn: pip install 'edgecell[serve]'.

    \b
    Examples:
      edgecell serve
      edgecell serve bench.toml marrow.toml --journal journal
      edgecell serve bench.toml --token
      edgecell serve bench.toml --listen 0.0.0.0:8470 --name bench-3.local --tls-cert bench-3.pem --tls-key bench-3.key
      edgecell serve --json
    """
    try:
        from edgecell.web import address, choices, server, session
        from edgecell.web.hub import Hub
        from edgecell.web.runs import Runs
        from edgecell.web.station import Station
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library == "edgecell":
            raise
        raise MissingDependency(f"the page needs {library}", fix="pip install 'edgecell[serve]'") from None
    where = address.address(listen)
    secure = address.check_tls(where, tls_cert, tls_key)
    token = session.token_of(token_file) if token_file else session.made_token() if wants_token or not where.here else None
    folder, hub = (journal or JournalSettings().folder).resolve(), Hub()
    runs = Runs(journal=folder, settings=choices.named(settings_files), endpoint=connectable(endpoint), hub=hub)
    station = Station(journal=folder, hub=hub, runs=runs, door=session.Door(token), secure=secure)
    bus = server.Bus(endpoint=endpoint, key=key, server_key=server_key)
    tls = server.Tls(cert=tls_cert, key=tls_key) if tls_cert and tls_key else None
    with where.bound() as sock:
        shown = names[0] if names else where.shown
        made = f"#token={token}" if token and token_file is None else ""  # behind the #, which a browser sends to nobody
        _tell(f"http{'s' if secure else ''}://{shown}:{sock.getsockname()[1]}/{made}", as_json=as_json)
        server.serve(station, bus, sock, tls, address.names_of(where, names), numbers=where.anywhere)


def _tell(url: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"listening": url, "notice": NOTICE}).decode())
    else:
        click.echo(f"The page is at {url}\n{NOTICE}", err=True)
