"""`edgecell classify`: images of one centred cell each."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgecell import app
from edgecell.bundle import Manifest
from edgecell.classify import Classifier
from edgecell.cli.count import PIXEL_UM
from edgecell.domain import domain_of, held_back, telling
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE, Classification, Domain
from edgecell.preprocess import Crop, Preprocess, cut
from edgecell.settings import Settings

LOG = logging.getLogger("edgecell.classify")
BATCH = 64
Result = Classification | FrameCorrupt


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
    quiet = not sys.stderr.isatty()
    with plan.recogniser() as recogniser, Progress(console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("classifying", total=len(files))
        results: list[Result] = []
        for at in range(0, len(files), BATCH):
            crops = [_crop(file, scale_um, manifest.preprocess) for file in files[at : at + BATCH]]
            results += _answers(crops, recogniser.classifiers["nucleated"])
            bar.advance(task, len(crops))
    if len(files) == 1 and isinstance(results[0], FrameCorrupt):
        raise results[0]
    domain = _tell(files, results, manifest, as_json)
    if pixel_um is None:
        LOG.info("scale: %g um per pixel, that of %s's dataset; else give --pixel-um", scale_um, manifest.name)
    if domain.state == "foreign":
        what = "images look foreign (mean confidence %.3f, below %.3f), labels held back. Fix: --pixel-um, or `edgecell adapt`"
        LOG.warning(what, domain.mean_confidence, manifest.confidence.foreign_below)
    click.echo(NOTICE, err=as_json)


def _crop(file: Path, pixel_um: float, spec: Preprocess) -> Crop | FrameCorrupt:
    """The window around the middle of an image, or why there is none."""
    try:
        image = load_image(file)
    except FrameCorrupt as error:
        return error
    return cut(image, (image.shape[1] / 2, image.shape[0] / 2), pixel_um, spec.crop_um, spec.size_px)


def _answers(crops: Sequence[Crop | FrameCorrupt], classifier: Classifier) -> list[Result]:
    """An answer for each crop, in order; what could not be read stays what it is."""
    rows = iter(classifier.probabilities([crop for crop in crops if not isinstance(crop, FrameCorrupt)]))
    return [crop if isinstance(crop, FrameCorrupt) else classifier.answer(0, next(rows)) for crop in crops]


def _tell(files: Sequence[Path], results: Sequence[Result], manifest: Manifest, as_json: bool) -> Domain:
    """Print a line for each file, in order, and without JSON a summary. All images together are taken for one slide."""
    answers = [result for result in results if isinstance(result, Classification)]
    if not answers:
        for result in results:
            LOG.error("%s", result)
        raise SourceUnavailable("no image could be read", fix="see the lines above, one an image")
    domain = domain_of(telling(answers, manifest), manifest)
    kept = iter(held_back(answers, domain))
    names = tuple(each.name for each in manifest.classes)
    found: Counter[tuple[str, bool]] = Counter()
    for file, result in zip(files, results, strict=True):
        if isinstance(result, FrameCorrupt):
            LOG.error("%s", result)
            if as_json:
                click.echo(msgspec.json.encode({"image": str(file), "error": str(result)}))
            continue
        answer = next(kept)
        found[answer.label, answer.decided] += 1
        click.echo(_json(file, answer, names, domain) if as_json else _text(file, answer))
    if not as_json:
        Console().print(_summary(found))
    return domain


def _text(file: Path, answer: Classification) -> str:
    return f"{file}: {answer.label} {100 * (answer.confidence or 0):.1f} %{'' if answer.decided else ' (unsure)'}"


def _json(file: Path, answer: Classification, names: tuple[str, ...], domain: Domain) -> bytes:
    probabilities = [] if answer.probabilities is None else answer.probabilities.tolist()
    line = {
        "image": str(file),
        "label": answer.label,
        "confidence": answer.confidence,
        "decided": answer.decided,
        "probabilities": dict(zip(names, probabilities, strict=True)),
        "domain": domain.state,
    }
    return msgspec.json.encode(line)


def _summary(found: Counter[tuple[str, bool]]) -> Table:
    table = Table("class", title=f"{found.total()} cells", title_justify="left")
    for name in ("decided", "unsure"):
        table.add_column(name, justify="right")
    for label in sorted({label for label, _ in found}):
        table.add_row(label, str(found[label, True]), str(found[label, False]))
    return table
