"""`python -m calibration fetch`."""

from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from calibration.adapter import Adapter
from calibration.commands.options import OUT
from calibration.datasets import TABLE, adapter
from calibration.download import Download, Fetched, fetch
from edgecell.errors import SettingsError

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)


@click.command()
@click.argument("dataset", type=click.Choice(sorted(TABLE)))
@click.option("--data", required=True, type=OUT, help="Folder that holds the datasets; it is made if it is not there.")
def command(dataset: str, data: Path) -> None:
    """Bring a published dataset into DATA, then count its cells against the published numbers.

    \b
    Example:
      python -m calibration fetch pbc --data ~/datasets

    What is offered over plain HTTPS is downloaded: a broken download goes on where it broke, also in the next call, and each
    file is compared with its checksum where there is one. What only a person can get is said, with page, licence and folder.
    """
    source = adapter(dataset)
    facts = source.facts
    click.echo(f"{facts.title}. Licence: {facts.licence}. Cite: {facts.citation}")
    click.echo(f"page: {facts.page}")
    for wanted in facts.files:
        click.echo(said(downloaded(wanted, data)))
    if facts.by_hand:
        click.echo(f"by hand: {facts.by_hand}, below {data}")
    click.echo(counted(dataset, source, data))


def downloaded(wanted: Download, data: Path) -> Fetched:
    """The file, with a bar on stderr."""
    with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
        task = bar.add_task(wanted.name, total=None)
        return fetch(wanted, data, lambda here, total: bar.update(task, completed=here, total=total))


def said(done: Fetched) -> str:
    """What became of a file, and what that is worth."""
    how = "fetched" if done.new else "was there"
    if done.proof == "none":
        return f"{done.path}: {how}; no checksum is known, its sha256 is {done.sha256}"
    return f"{done.path}: {how}, equals the {done.proof}"


def counted(dataset: str, source: Adapter, data: Path) -> str:
    """Cells found, by class, where a number is published. Raises SettingsError that names the classes that differ."""
    found = Counter(label for sample in source.read(data) for label in sample.labels)
    published = {each.name: each.count for each in source.facts.classes if each.count is not None}
    wrong = [f"{name} {found[name]} of {count}" for name, count in published.items() if found[name] != count]
    if wrong:
        raise SettingsError(
            f"{dataset} in {data} is not the published set: {', '.join(wrong)}", fix="look at what is missing or too many there"
        )
    against = "as published" if published else "no number is published for them"
    return f"{found.total()} cells in {len(found)} classes, {against}"
