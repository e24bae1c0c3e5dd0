"""`edgecell classify`: images of one centred cell each."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgecell import app
from edgecell.classify import Classifier
from edgecell.cli.count import PIXEL_UM
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE
from edgecell.preprocess import Crop, cut
from edgecell.settings import Settings

LOG = logging.getLogger("edgecell.classify")
BATCH = 64


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel. Default: the bundle's own dataset's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line an image.")
def command(paths: tuple[Path, ...], bundle: str, pixel_um: float | None, as_json: bool) -> None:
    """Classify single cells: images, or folders of them, each with one cell in the middle.

    `label` is the most probable class, also where it is not decided; a label that is not decided would be counted as unsure.
    The scale matters: give --pixel-um for images from another microscope than the bundle's dataset.

    \b
    Examples:
      edgecell classify cell.jpg
      edgecell classify PBC_dataset_normal_DIB/neutrophil --json
      edgecell classify mycells/ --pixel-um 0.07
    """
    files = [file for path in paths for file in listed(path)]
    plan = app.plan(Settings(models={"nucleated": bundle}))
    manifest = plan.bundles["nucleated"].manifest
    if pixel_um is None:
        pixel_um = manifest.preprocess.pixel_um
        LOG.info(
            "scale: %g um per pixel, that of %s's dataset; give --pixel-um for another microscope", pixel_um, manifest.name
        )
    found: Counter[tuple[str, bool]] = Counter()
    quiet = not sys.stderr.isatty()
    with plan.recogniser() as recogniser, Progress(console=Console(stderr=True), disable=quiet) as bar:
        classifier = recogniser.classifiers["nucleated"]
        task = bar.add_task("classifying", total=len(files))
        for at in range(0, len(files), BATCH):
            readable, crops = _crops(files[at : at + BATCH], pixel_um, manifest.preprocess.crop_um, manifest.preprocess.size_px)
            found.update(_answers(readable, crops, classifier, tuple(recogniser.classes), as_json))
            bar.advance(task, len(files[at : at + BATCH]))
    if not found:
        raise SourceUnavailable("no image could be read", fix="see the lines above, one an image")
    if not as_json:
        Console().print(_summary(found))
    click.echo(NOTICE, err=as_json)


def _crops(files: Sequence[Path], pixel_um: float, crop_um: float, size_px: int) -> tuple[list[Path], list[Crop]]:
    """The files that can be read, and the window around the middle of each."""
    readable, crops = [], []
    for file in files:
        try:
            image = load_image(file)
        except FrameCorrupt as error:
            LOG.error("%s", error)  # noqa: TRY400 one line, no traceback
            continue
        readable.append(file)
        crops.append(cut(image, (image.shape[1] / 2, image.shape[0] / 2), pixel_um, crop_um, size_px))
    return readable, crops


def _answers(
    files: Sequence[Path], crops: Sequence[Crop], classifier: Classifier, names: tuple[str, ...], as_json: bool
) -> list[tuple[str, bool]]:
    """Print an answer for each file; (label, decided) of each."""
    answers = []
    for file, row in zip(files, classifier.probabilities(crops), strict=True):
        label, confidence, decided = classifier.best(row)
        answers.append((label, decided))
        if as_json:
            click.echo(msgspec.json.encode(_line(file, label, confidence, decided, names, row)))
        else:
            click.echo(f"{file}: {label} {100 * confidence:.1f} %{'' if decided else ' (unsure)'}")
    return answers


def _line(
    file: Path, label: str, confidence: float, decided: bool, names: tuple[str, ...], row: NDArray[np.float32]
) -> dict[str, object]:
    return {
        "image": str(file),
        "label": label,
        "confidence": confidence,
        "decided": decided,
        "probabilities": dict(zip(names, row.tolist(), strict=True)),
    }


def _summary(found: Counter[tuple[str, bool]]) -> Table:
    table = Table("class", title=f"{found.total()} cells", title_justify="left")
    for name in ("decided", "unsure"):
        table.add_column(name, justify="right")
    for label in sorted({label for label, _ in found}):
        table.add_row(label, str(found[label, True]), str(found[label, False]))
    return table
