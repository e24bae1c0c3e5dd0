"""An evaluation as one HTML page that needs nothing but a browser: no network, no script, no other file.

The page shows real cells, so it is never written into the project's own tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray

from calibration import pictures
from calibration.evaluation import Evaluation, Scored
from calibration.evaluation_text import TITLES, cautions, slide_lines
from calibration.metrics import ENOUGH, percent
from calibration.robustness import Row
from edgecell.bundle import sha256_of
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE

CHECKOUT = Path(__file__).resolve().parents[1]
TEMPLATE = Path(__file__).with_name("report.html.j2")
THUMBNAILS = 24
"""Of each kind: a page of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A cell as it was cut. uri: the picture. confidence: of the call."""

    uri: str
    name: str
    truth: str
    called: str
    confidence: float
    decided: bool


def outside(folder: Path) -> Path:
    """The folder as an absolute path. Raises SettingsError when it is in the project's tree."""
    target = folder.resolve()
    if target.is_relative_to(CHECKOUT):
        raise SettingsError(
            f"--report {folder} is inside the project ({CHECKOUT}), and a report shows real cells",
            fix="give a folder outside it: real images are never committed",
        )
    return target


def write(found: Evaluation, rows: Sequence[Row], folder: Path, *, command: str, made_utc: str) -> Path:
    """The page, in `folder` (made if missing). rows: of the robustness table. Raises SettingsError as `outside`."""
    target = outside(folder)
    target.mkdir(parents=True, exist_ok=True)
    manifest, question = found.bundle.manifest, found.labelled.question
    path = target / f"{manifest.name}-{manifest.version}-{question.data.dataset}-{question.part}.html"
    path.write_text(page(found, rows, command=command, made_utc=made_utc), encoding="utf-8")
    return path


def page(found: Evaluation, rows: Sequence[Row], *, command: str, made_utc: str) -> str:
    """The HTML text. The first encoding of `found` is the one whose cells and pictures are shown."""
    shown, question = found.scored[0], found.labelled.question
    names = found.bundle.class_names
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    file = question.split_file
    svgs = {
        "confusion": pictures.confusion(shown.figures.confusion, names),
        "reliability": pictures.reliability_diagram(shown.reliability),
        "coverage": pictures.coverage_curve(
            {TITLES[each.encoding]: each.coverage for each in found.scored}, found.bundle.manifest.confidence.unsure_below
        ),
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        bundle=found.bundle,
        labelled=found.labelled,
        question=question,
        split_sha256=file and sha256_of(file),
        cautions=cautions(found),
        shown=shown,
        scored=found.scored,
        titles=TITLES,
        paired=found.paired,
        slides=slide_lines(shown.device),
        rows=rows,
        svgs=svgs,
        wrong=thumbnails(found, shown, most_confident_wrong(shown)),
        unsure=thumbnails(found, shown, least_sure(shown)),
        percent=percent,
        enough=ENOUGH,
        notice=NOTICE,
        command=command,
        made_utc=made_utc,
    )


def most_confident_wrong(shown: Scored) -> NDArray[np.intp]:
    wrong = np.flatnonzero(~shown.calls.right)
    return wrong[np.argsort(-shown.calls.confidence[wrong], kind="stable")][:THUMBNAILS]


def least_sure(shown: Scored) -> NDArray[np.intp]:
    unsure = np.flatnonzero(~shown.calls.decided)
    return unsure[np.argsort(shown.calls.confidence[unsure], kind="stable")][:THUMBNAILS]


def thumbnails(found: Evaluation, shown: Scored, chosen: NDArray[np.intp]) -> list[Thumbnail]:
    """chosen: indices among the cells of known label."""
    cells, names, calls = found.labelled.cells, found.bundle.class_names, shown.calls
    at = np.flatnonzero(cells.truth >= 0)
    return [
        Thumbnail(
            uri=pictures.png_uri(cells.crops[at[number]]),
            name=cells.names[at[number]],
            truth=names[calls.truth[number]],
            called=names[calls.called[number]],
            confidence=float(calls.confidence[number]),
            decided=bool(calls.decided[number]),
        )
        for number in chosen.tolist()
    ]
