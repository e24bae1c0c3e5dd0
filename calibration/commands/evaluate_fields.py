"""`python -m calibration evaluate-fields`."""

from pathlib import Path

import click
import msgspec

from calibration.commands.options import FILE, TXL


@click.command()
@click.option("--data", required=True, type=TXL, help="Folder or tar with images/ and labels/ in YOLO's layout.")
@click.option("--split", metavar="NAME", help="Folder of a split, e.g. val. Needed where the set has splits.")
@click.option("--segmenter", metavar="NAME", help="Default: the one that a run takes.")
@click.option("--settings", type=FILE, help="Settings file whose [segmenter] and [engine] are used, with their options.")
@click.option("--kinds", metavar="LIST", help="What class numbers mean. Default: 0=nucleated,1=red_blood_cell,2=platelet.")
@click.option("--source", metavar="HOW", default="size", show_default=True, help="size, folder, or a file: see below.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    data: Path,
    split: str | None,
    segmenter: str | None,
    settings: Path | None,
    kinds: str | None,
    source: str,
    as_json: bool,
) -> None:
    """Score a segmenter on fields with YOLO labels, boxes or polygons, one to one at IoU 0.5: F1, counts a field, masks.

    \b
    Examples:
      python -m calibration evaluate-fields --data ~/datasets/txl_pbc.tar --split val
      python -m calibration evaluate-fields --data mine/ --segmenter stain --kinds 0=red_blood_cell,1=nucleated,2=-
      python -m calibration evaluate-fields --data mine/ --source microscopes.tsv --json

    Images lie in images/SPLIT/, labels in labels/SPLIT/, or SPLIT/images/ and SPLIT/labels/, or without splits. Kinds are the
    segmenter's own names; `NUMBER=-` leaves a class out.

    Each source of fields is one optics to the segmenter, and gets figures of its own: each image size (`size`), each folder
    below images/SPLIT (`folder`), or as a file says with a line `name<TAB>source` for each field. Border cells are included,
    and left out once more in figures beside them. Intervals are a bootstrap over fields.
    """
    from calibration import field_scores, fields, segmenting, yolo

    name, make = segmenting.factory(segmenter, settings)
    meaning = yolo.BLOOD if kinds is None else yolo.classes(kinds)
    labelled = fields.read_fields(data, split, meaning, fields.source_of(source))
    found = field_scores.score(labelled, make, meaning.kinds)
    if as_json:
        click.echo(msgspec.json.encode({"segmenter": name, "split": split, **found.summary()}))
        return
    click.echo(f"segmenter {name} on {data}{f', split {split}' if split else ''}")
    click.echo(str(found))
