"""`python -m calibration reread`."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from calibration.commands.options import FILE, FOLDER, OUT
from edgecell.errors import SettingsError, SourceUnavailable

if TYPE_CHECKING:
    from calibration.reread.cluster import Tls
    from calibration.reread.reading import Outcome
    from calibration.reread.summary import Summary

LOG = logging.getLogger("calibration.reread")
LINES = 20
"""Lines of progress where no terminal shows a bar."""


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--out", required=True, type=OUT, help="Folder for the results. Run again to read what is missing there.")
@click.option("--settings", type=FILE, help="Settings file: its [segmenter], [engine], [models] and [trust] are used.")
@click.option("--on", metavar="WHERE", help="processes, processes:N or dask://HOST:PORT. Default: this process.")
@click.option("--slide-of", default="folder", show_default=True, type=click.Choice(["folder", "file"]), help="See below.")
@click.option("--tls-ca", type=FILE, help="Certificate of the authority that signed the cluster's certificates.")
@click.option("--tls-cert", type=FILE, help="Our own certificate, for a cluster that speaks TLS.")
@click.option("--tls-key", type=FILE, help="The key of our certificate.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object on stdout.")
def command(
    folder: Path,
    out: Path,
    settings: Path | None,
    on: str | None,
    slide_of: str,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> None:
    """Read an archive of fields again with the device's own frame path, on one machine or a Dask cluster.

    \b
    Examples:
      python -m calibration reread archive/ --out counts/
      python -m calibration reread archive/ --out counts/ --settings bench.toml --on processes:8
      python -m calibration reread /mnt/archive --out /mnt/counts --on dask://scheduler:8786

    The images of one folder are one slide, in natural order; --slide-of file makes each image a slide. A slide is read by one
    process from first to last, since what a run learns of it goes from field to field: so the results do not depend on how many
    there are. OUT gets a file of JSON lines for each slide, summary.csv and summary.json. The same command again reads only
    what is missing or has changed: images, bundles, settings, code.

    On a cluster DIR and OUT are paths that every machine has, and every worker runs this checkout with the same requirements;
    one that does not is refused. Whoever reaches a Dask scheduler can run any code on its workers, and messages are
    pickled: keep it in a network that you trust, and use certificates where others share it.
    """
    from calibration.reread import archive, cluster
    from edgecell.settings import Settings, load

    place = None if on is None else cluster.where(on)
    tls = _tls(tls_ca, tls_cert, tls_key)
    if tls and not (place and place.address):
        raise SettingsError("--tls-ca, --tls-cert and --tls-key go with --on dask://HOST:PORT", fix="leave them out")
    chosen = archive.opened(folder, out, load(settings) if settings else Settings(), of_file=slide_of == "file")
    with _Shown(*chosen.counted()) as shown:
        found = chosen.read(place, tls, shown.told)
    click.echo(archive.told_json(found) if as_json else _text(found, chosen.out))
    _check(found)


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> "Tls | None":
    from calibration.reread.cluster import Tls

    if ca and cert and key:
        return Tls(str(ca), str(cert), str(key))
    if ca or cert or key:
        raise SettingsError("TLS needs --tls-ca, --tls-cert and --tls-key", fix="give all three, or none")
    return None


class _Shown:
    """Progress on stderr: a bar, or a line now and then where no terminal is."""

    def __init__(self, slides: int, images: int) -> None:
        self._slides, self._images = slides, images
        self._done = self._seen = self._kept = 0
        columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("images", total=images)

    def __enter__(self) -> "_Shown":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def told(self, outcome: "Outcome") -> None:
        before = LINES * self._seen // self._images
        self._done, self._seen, self._kept = self._done + 1, self._seen + outcome.images, self._kept + outcome.kept
        self._bar.advance(self._task, outcome.images)
        if self._bar.disable and LINES * self._seen // self._images > before:
            what = "%d of %d images, %d of %d slides, %d of them were there already"
            LOG.info(what, self._seen, self._images, self._done, self._slides, self._kept)


def _text(found: "Summary", out: Path) -> str:
    frames, counts = found.total.frames, found.total.counts
    named = ", ".join(f"{label} {counts[label]}" for label in found.labels if counts.get(label))
    fates = f"{frames.processed} counted, {frames.gated} gated, {frames.failed} failed"
    apart = f"unsure {found.total.unsure} | excluded {sum(found.total.excluded.values())}"
    lines = [
        f"{len(found.slides)} slides, {frames.captured} images: {fates}",
        f"{found.cells_total} cells: {named or 'none decided'} | {apart}",
        *(f"failed: {each.image}: {each.error}" for each in found.failed),
        *(f"not read: slide {each.slide}: {each.problem}" for each in found.unread),
        *(f"{each.role}: {each.name} {each.version}, {each.engine}" for each in found.models),
        f"summary.csv, summary.json and a file for each slide in {out}",
        found.notice,
    ]
    return "\n".join(lines)


def _check(found: "Summary") -> None:
    """Raises SourceUnavailable where not all was read."""
    if found.unread:
        what = f"{len(found.unread)} of {len(found.unread) + len(found.slides)} slides were not read: see above"
        raise SourceUnavailable(what, fix="run the same command again: what is done stays done")
    if found.total.frames.failed == found.total.frames.captured:
        raise SourceUnavailable("no image could be read", fix="summary.json says why for each of them")
