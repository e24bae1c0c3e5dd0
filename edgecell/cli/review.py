"""`edgecell review`: what a person says of the cells of a run, for machines without a browser."""

import re
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgecell.cli.meant import run_meant
from edgecell.cli.watch import printable
from edgecell.errors import SettingsError
from edgecell.journal.cells import RunCells
from edgecell.journal.events import Action
from edgecell.journal.recording import device_key
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews
from edgecell.journal.standing import Place
from edgecell.messages import NOTICE
from edgecell.settings import JournalSettings
from edgecell.wire import DifferentialRow

_CELL = re.compile("([0-9]{1,12}):([0-9]{1,12})")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--journal", type=click.Path(path_type=Path), help="Folder. Default: ~/.local/state/edgecell/journal.")
@click.option("--cell", "named", metavar="F:C", multiple=True, help="A cell, by frame and index; again for more.")
@click.option("--label", metavar="CLASS", help="What the cells are: a class of the run, or `unsure`.")
@click.option("--confirm", "action", flag_value="confirm", help="The machine's label is right.")
@click.option("--reject", "action", flag_value="reject", help="It is no cell that counts: excluded.")
@click.option("--undo", "action", flag_value="undo", help="Take back what was said of the cells last.")
@click.option("--sign-off", "signing", is_flag=True, help="Stand by the counts as they are now. Any later review ends that.")
@click.option("--operator", default="", help="Who says so.")
@click.option("--key", default="", help="Private key (NAME.signing.key) of a device that signs its journal.")
@click.option("--show", "limit", default=20, show_default=True, type=click.IntRange(0), help="Doubtful cells to list.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    run_id: str,
    journal: Path | None,
    named: tuple[str, ...],
    label: str | None,
    action: Action | None,
    signing: bool,
    operator: str,
    key: str,
    limit: int,
    as_json: bool,
) -> None:
    """Say what cells of a run are, and see the counts with that beside the machine's.

    RUN is the id of a run in the journal (edgecell journal show), or `latest`.

    Without --cell nothing is changed: the counts are shown, and those cells that the machine was least sure of and nobody has
    reviewed. Their pictures come from `edgecell journal export --crops DIR`, where the run kept them ([journal] crops).

    The machine's label stays as it is. Every word is an event in a chain beside the journal, with name and time.

    \b
    Examples:
      edgecell review latest
      edgecell review 6f1c2a3e-8a53-4bd0-9f52-0d0f6ad1c0de --cell 12:3 --cell 14:0 --label monocyte --operator anna
      edgecell review 6f1c2a3e-8a53-4bd0-9f52-0d0f6ad1c0de --cell 12:3 --undo --operator anna
      edgecell review 6f1c2a3e-8a53-4bd0-9f52-0d0f6ad1c0de --sign-off --operator anna --json
    """
    places, chosen = [_place(each) for each in named], _action(label, action)
    if bool(places) != bool(chosen):
        fix = "give --cell F:C with one of --label, --confirm, --reject and --undo"
        raise SettingsError("a review is of cells, and says something of them", fix=fix)
    folder = journal or JournalSettings().folder
    cells = RunCells.open(folder, run_meant(folder, run_id))
    if places or signing:
        with Reviews.open(folder, device_key(key)) as reviews:
            if chosen:
                review(reviews, cells, places, chosen, label or "", operator)
                cells.refresh(folder)
            if signing:
                sign_off(reviews, cells, operator)
                cells.refresh(folder)
    shown = places or [place for place in cells.view("all") if cells.doubtful(place)][:limit]
    if as_json:
        click.echo(msgspec.json.encode(_plain(cells, shown)))
    else:
        _print(cells, shown)
    click.echo(NOTICE, err=as_json)


def _place(text: str) -> Place:
    match = _CELL.fullmatch(text)
    if match is None:
        raise SettingsError(f"--cell {text!r} is no cell", fix="give frame and index as they are listed, such as 12:3")
    return int(match[1]), int(match[2])


def _action(label: str | None, action: Action | None) -> Action | None:
    if label is not None and action is not None:
        raise SettingsError(f"--label and --{action} cannot both be said", fix="leave one of them out")
    return action if label is None else "relabel"


def _plain(cells: RunCells, shown: list[Place]) -> dict[str, Any]:
    reviewed, (machine, person) = cells.reviewed(), cells.differentials()
    return {
        "run_id": cells.run_id,
        "sample_id": cells.started.sample_id,
        "review": cells.standing.told(cells.run.windows),
        "machine": {
            "counts": cells.machine.counts,
            "unsure": cells.machine.unsure,
            "excluded": cells.machine.excluded,
            "differential": machine,
        },
        "reviewed": {
            "counts": reviewed.counts,
            "unsure": reviewed.unsure,
            "excluded": reviewed.excluded,
            "differential": person,
        },
        "reconciles": not cells.differs,
        "cells": [cells.told(place) for place in shown],
        "notice": NOTICE,
    }


def _print(cells: RunCells, shown: list[Place]) -> None:
    told = cells.standing.told(cells.run.windows)
    by = f" by {', '.join(told['operators'])}" if told["operators"] else ""
    signed = f"; signed off by {told['signed_off']['operator']}" if told["signed_off"] else ""
    click.echo(printable(f"{cells.run_id}, sample {cells.started.sample_id}: {told['cells']} cells reviewed{by}{signed}"))
    console = Console(highlight=False)
    console.print(_counts(cells))
    for place in shown:
        click.echo(printable(_line(cells, place)))


def _counts(cells: RunCells) -> Table:
    """Both counts; percent with limits for what is in the differential."""
    reviewed, differentials = cells.reviewed(), cells.differentials()
    rows = [{row.label: row for row in each.rows} for each in differentials]
    table = Table("", "machine", "", "reviewed", "", box=None)
    for label in cells.labels:
        counts = [tally.counts.get(label, 0) for tally in (cells.machine, reviewed)]
        if any(counts) or label in rows[1]:
            table.add_row(label, str(counts[0]), _share(rows[0].get(label)), str(counts[1]), _share(rows[1].get(label)))
    table.add_row("unsure", str(cells.machine.unsure), "", str(reviewed.unsure), "")
    excluded = [sum(tally.excluded.values()) for tally in (cells.machine, reviewed)]
    table.add_row("excluded", str(excluded[0]), "", str(excluded[1]), "")
    return table


def _share(row: DifferentialRow | None) -> str:
    return "" if row is None else f"{row.percent:.1f} % ({row.low:.1f} to {row.high:.1f})"


def _line(cells: RunCells, place: Place) -> str:
    """One cell: `12:3  monocyte 0.412, unsure; lymphocyte (anna)`."""
    cell, said = cells.cell(place), cells.standing.of(place)
    if cell is None:
        return ""
    confidence = "" if cell.confidence is None else f" {cell.confidence:.3f}"
    person = f"; {cells.label(place) or 'rejected'} ({said.operator})" if said else ""
    return f"  {place[0]}:{place[1]}  {cell.label}{confidence}{'' if cell.decided else ', unsure'}{person}"
