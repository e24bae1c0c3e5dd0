"""`edgecell classify`: images of one centred cell each."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgecell import app, clock
from edgecell.bundle import Manifest
from edgecell.classify import Classifier
from edgecell.cli import options
from edgecell.cli.count import PIXEL_UM
from edgecell.domain import domain_of, held_back, telling
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE, Classification, Domain, Frame
from edgecell.optics.scale import Scale
from edgecell.preprocess import Crop, Preprocess, cut
from edgecell.protocols import Segmenter
from edgecell.settings import Settings, engine_from_spec
from edgecell.stain import evened

LOG = logging.getLogger("edgecell.classify")
SCALE_IMAGES = 40
"""Images, spread over all, whose red cells are measured where no scale was given."""
AGREES = 0.25
"""Red cells that differ by less from the bundle's scale do not contradict it: they are 6.2 to 8.2 um across themselves."""
MOST = 0.5
"""Share of the images in which red cells must be found to be believed: on images of one cell a few clumps may pass for them."""
FITS = 0.9
"""Share of the window that an image must fill for the bundle's scale to be plausible."""
Result = Classification | FrameCorrupt


class Window(NamedTuple):
    """A cell cut out. trusted: nothing speaks against the scale that it was cut at."""

    crop: Crop
    trusted: bool


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel. Default: measured, see above.")
@options.ENGINE
@click.option("--json", "as_json", is_flag=True, help="One JSON line an image.")
def command(paths: tuple[Path, ...], bundle: str, pixel_um: float | None, engine: str | None, as_json: bool) -> None:
    """Classify single cells: images, or folders of them, each with one cell in the middle.

    `label` is the most probable class, also where it is not decided; a label that is not decided would be counted as unsure.
    An image that cannot be read is reported and the others are classified; the exit code is 5 when none could be.

    The scale matters: give --pixel-um if you know it. Otherwise it is that of the bundle's own dataset, unless the red cells in
    the images say that it is another one; then it is measured on them. Where nothing tells, and the window of the bundle does
    not fit into an image at its dataset's scale, no label is decided.

    All images are taken for one slide: the red cells around the cells even out its stain, and where the slide looks foreign no
    label is decided. Classify the images of different slides one slide at a time.

    \b
    Examples:
      edgecell classify cell.jpg
      edgecell classify PBC_dataset_normal_DIB/neutrophil --json
      edgecell classify mycells/ --pixel-um 0.07
    """
    files = list(dict.fromkeys(file for path in paths for file in listed(path)))
    chosen = Settings(models={"nucleated": bundle})
    plan = app.plan(chosen if engine is None else msgspec.structs.replace(chosen, engine=engine_from_spec(engine)))
    manifest = plan.bundles["nucleated"].manifest
    quiet = not sys.stderr.isatty()
    with plan.recogniser() as recogniser, Progress(console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("classifying", total=len(files))
        scale = Scale(pixel_um, "settings") if pixel_um else scale_of(files, recogniser.segmenter, manifest.preprocess.pixel_um)
        windows: list[Window | FrameCorrupt] = []
        for file in files:
            windows.append(_crop(file, scale, manifest.preprocess))
            bar.advance(task)
        results = _answers(windows, recogniser.classifiers["nucleated"])
    if len(files) == 1 and isinstance(results[0], FrameCorrupt):
        raise results[0]
    domain = _tell(files, results, manifest, scale, as_json)
    if pixel_um is None:
        LOG.info("scale: %.3g um per pixel (%s); if you know better, give --pixel-um", scale.pixel_um, scale.source)
    if domain.state == "foreign":
        what = "images look foreign (mean confidence %.3f, below %.3f), labels held back. Fix: --pixel-um, or `edgecell adapt`"
        LOG.warning(what, domain.mean_confidence, manifest.confidence.foreign_below)
    click.echo(NOTICE, err=as_json)


def scale_of(files: Sequence[Path], segmenter: Segmenter, bundle_um: float) -> Scale:
    """The bundle's own um per pixel, unless the red cells of the images, looked for in some of them, contradict it."""
    looked, measured = 0, []
    for file in files[:: max(1, len(files) // SCALE_IMAGES)]:
        try:
            image = load_image(file)
        except FrameCorrupt:
            continue  # told when its turn comes
        looked += 1
        found = segmenter.segment(Frame(source_id="classify", index=0, captured_ns=clock.monotonic_ns(), image=image))
        if found.pixel_um is not None:
            measured.append(found.pixel_um)
    own_um = median(measured) if len(measured) > MOST * looked else bundle_um
    if abs(own_um / bundle_um - 1) <= AGREES:
        return Scale(bundle_um, "bundle")
    return Scale(own_um, "estimated")


def _crop(file: Path, scale: Scale, spec: Preprocess) -> Window | FrameCorrupt:
    """The window around the middle of an image, or why there is none."""
    try:
        image = load_image(file)
    except FrameCorrupt as error:
        return error
    height, width = image.shape[:2]
    pixel_um = scale.pixel_um or spec.pixel_um
    fits = min(height, width) * pixel_um >= FITS * spec.crop_um
    crop = cut(image, (width / 2, height / 2), pixel_um, spec.crop_um, spec.size_px)
    return Window(crop, trusted=fits or scale.source != "bundle")


def _answers(windows: Sequence[Window | FrameCorrupt], classifier: Classifier) -> list[Result]:
    """An answer for each window, in order; what could not be read stays what it is. All of them are one slide's."""
    crops = [window.crop for window in windows if isinstance(window, Window)]
    rows = iter(classifier.probabilities(evened(np.stack(crops), classifier.manifest.preprocess) if crops else []))
    results: list[Result] = []
    for window in windows:
        if isinstance(window, FrameCorrupt):
            results.append(window)
            continue
        answer = classifier.answer(0, next(rows))
        results.append(answer if window.trusted else replace(answer, decided=False))
    return results


def _tell(files: Sequence[Path], results: Sequence[Result], manifest: Manifest, scale: Scale, as_json: bool) -> Domain:
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
        click.echo(_json(file, answer, names, domain, scale) if as_json else _text(file, answer))
    if not as_json:
        Console().print(_summary(found))
    return domain


def _text(file: Path, answer: Classification) -> str:
    return f"{file}: {answer.label} {100 * (answer.confidence or 0):.1f} %{'' if answer.decided else ' (unsure)'}"


def _json(file: Path, answer: Classification, names: tuple[str, ...], domain: Domain, scale: Scale) -> bytes:
    probabilities = [] if answer.probabilities is None else answer.probabilities.tolist()
    line = {
        "image": str(file),
        "label": answer.label,
        "confidence": answer.confidence,
        "decided": answer.decided,
        "probabilities": dict(zip(names, probabilities, strict=True)),
        "domain": domain.state,
        "pixel_um": scale.pixel_um,
        "pixel_um_source": scale.source,
    }
    return msgspec.json.encode(line)


def _summary(found: Counter[tuple[str, bool]]) -> Table:
    table = Table("class", title=f"{found.total()} cells", title_justify="left")
    for name in ("decided", "unsure"):
        table.add_column(name, justify="right")
    for label in sorted({label for label, _ in found}):
        table.add_row(label, str(found[label, True]), str(found[label, False]))
    return table
