"""`edgecell classify`: images of one centred cell each."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

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
from edgecell.preprocess import Crop, Preprocess, cut
from edgecell.settings import Settings

LOG = logging.getLogger("edgecell.classify")
BATCH = 64


class Answer(NamedTuple):
    """What one cell was taken for. probabilities: float32 (K,), in the bundle's class order."""

    label: str
    confidence: float
    decided: bool
    probabilities: NDArray[np.float32]


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel. Default: the bundle's own dataset's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line an image.")
def command(paths: tuple[Path, ...], bundle: str, pixel_um: float | None, as_json: bool) -> None:
    """Classify single cells: images, or folders of them, each with one cell in the middle.

    `label` is the most probable class, also where it is not decided; a label that is not decided would be counted as unsure.
    The scale matters: give --pixel-um for images from another microscope than the bundle's dataset. An image that cannot be
    read is reported and the others are classified; the exit code is 5 when none could be.

    \b
    Examples:
      edgecell classify cell.jpg
      edgecell classify PBC_dataset_normal_DIB/neutrophil --json
      edgecell classify mycells/ --pixel-um 0.07
    """
    files = list(dict.fromkeys(file for path in paths for file in listed(path)))
    plan = app.plan(Settings(models={"nucleated": bundle}))
    manifest = plan.bundles["nucleated"].manifest
    scale_um = pixel_um or manifest.preprocess.pixel_um
    found: Counter[tuple[str, bool]] = Counter()
    quiet = not sys.stderr.isatty()
    with plan.recogniser() as recogniser, Progress(console=Console(stderr=True), disable=quiet) as bar:
        classifier = recogniser.classifiers["nucleated"]
        tell = partial(_json, tuple(recogniser.classes)) if as_json else _text
        task = bar.add_task("classifying", total=len(files))
        for at in range(0, len(files), BATCH):
            cells = [(file, _crop(file, scale_um, manifest.preprocess)) for file in files[at : at + BATCH]]
            if len(files) == 1 and isinstance(cells[0][1], FrameCorrupt):
                raise cells[0][1]
            found.update(_answers(cells, classifier, tell))
            bar.advance(task, len(cells))
    if not found:
        raise SourceUnavailable("no image could be read", fix="see the lines above, one an image")
    if pixel_um is None:
        LOG.info("scale: %g um per pixel, that of %s's dataset; else give --pixel-um", scale_um, manifest.name)
    if not as_json:
        Console().print(_summary(found))
    click.echo(NOTICE, err=as_json)


def _crop(file: Path, pixel_um: float, spec: Preprocess) -> Crop | FrameCorrupt:
    """The window around the middle of an image, or why there is none."""
    try:
        image = load_image(file)
    except FrameCorrupt as error:
        return error
    return cut(image, (image.shape[1] / 2, image.shape[0] / 2), pixel_um, spec.crop_um, spec.size_px)


def _answers(
    cells: Sequence[tuple[Path, Crop | FrameCorrupt]],
    classifier: Classifier,
    tell: Callable[[Path, Answer | FrameCorrupt], str],
) -> list[tuple[str, bool]]:
    """Print a line for each file, in order; (label, decided) of each that could be read."""
    rows = iter(classifier.probabilities([crop for _, crop in cells if not isinstance(crop, FrameCorrupt)]))
    answers = []
    for file, crop in cells:
        if isinstance(crop, FrameCorrupt):
            LOG.error("%s", crop)
            answer: Answer | FrameCorrupt = crop
        else:
            row = next(rows)
            answer = Answer(*classifier.best(row), row)
            answers.append((answer.label, answer.decided))
        if text := tell(file, answer):
            click.echo(text)
    return answers


def _text(file: Path, answer: Answer | FrameCorrupt) -> str:
    if isinstance(answer, FrameCorrupt):
        return ""
    return f"{file}: {answer.label} {100 * answer.confidence:.1f} %{'' if answer.decided else ' (unsure)'}"


def _json(names: tuple[str, ...], file: Path, answer: Answer | FrameCorrupt) -> str:
    line: dict[str, object] = {"image": str(file)}
    if isinstance(answer, FrameCorrupt):
        line["error"] = str(answer)
    else:
        line |= {"label": answer.label, "confidence": answer.confidence, "decided": answer.decided}
        line["probabilities"] = dict(zip(names, answer.probabilities.tolist(), strict=True))
    return msgspec.json.encode(line).decode()


def _summary(found: Counter[tuple[str, bool]]) -> Table:
    table = Table("class", title=f"{found.total()} cells", title_justify="left")
    for name in ("decided", "unsure"):
        table.add_column(name, justify="right")
    for label in sorted({label for label, _ in found}):
        table.add_row(label, str(found[label, True]), str(found[label, False]))
    return table
