"""An evaluation for a reader at the terminal."""

from collections.abc import Sequence

from calibration.card import SPLIT_NOTE
from calibration.coverage import Point
from calibration.evaluation import INT8, Evaluation, OnDevice, Scored
from calibration.robustness import HEAD, Row
from edgecell.bundle import Encoding
from edgecell.messages import NOTICE, Domain

MOST_SLIDES = 8
TITLES: dict[Encoding, str] = {INT8: "INT8 (u8s8)", "s8s8": "INT8 (s8s8), as written", "float": "FP32", "fp16": "FP16"}


def text(found: Evaluation, rows: Sequence[Row] = ()) -> str:
    """All of it. rows: of the robustness table."""
    manifest = found.bundle.manifest
    parts = [
        f"{manifest.name} {manifest.version}, manifest sha256 {found.bundle.sha256}",
        str(found.labelled),
        *cautions(found),
        *(f"\n{TITLES[each.encoding]}\n{_scored(each)}" for each in found.scored),
    ]
    if found.paired:
        parts.append(f"\nINT8 less FP32, the same cells: {found.paired}")
    if rows:
        title = f"Robustness, {rows[0].accuracy.n} cells; the gate, which refuses bad frames of a run, plays no part"
        parts.append("\n".join(["", title, HEAD, *(str(row) for row in rows)]))
    return "\n".join([*parts, "", NOTICE])


def cautions(found: Evaluation) -> list[str]:
    """What a reader must know before any figure."""
    labelled = found.labelled
    told = [SPLIT_NOTE] if labelled.question.part != "all" else []
    known = {each.name for each in found.bundle.manifest.provenance.datasets}
    if labelled.question.part == "all" and labelled.question.data.dataset in known:
        trained = labelled.parts.get("train")
        how_many = "some, perhaps all," if trained is None else f"{trained}"
        told.append(f"The bundle was trained on this dataset: {how_many} of these cells are no test of it.")
    if labelled.question.part == "train":
        told.append("The bundle may have been trained on these very cells: this is no test of it.")
    return told


def _scored(found: Scored) -> str:
    device = found.device
    lines = [
        str(found.figures),
        f"{'expected calibration error':43}{found.reliability.error:.4f}",
        f"{'answered, the surest cells first':36}{'threshold':>12}   wrong of the answered",
        *(f"{_share(point):>36}{point.threshold:12.4f}   {point.wrong}" for point in found.coverage.table()),
        f"With the hold-back of foreign slides, as in a run: {device.foreign} of {len(device.slides)} slides held back",
        *(f"  {line}" for line in slide_lines(device)),
        f"{'decided':43}{device.decided}",
        f"{'right of the decided':43}{device.right_of_decided}",
        f"{'decided and wrong, of all cells':43}{device.wrong}",
    ]
    return "\n".join(lines)


def _share(point: Point) -> str:
    return f"{100 * point.answered.value:.1f} %"


def slide_lines(device: OnDevice) -> list[str]:
    """A line a slide, foreign ones first, MOST_SLIDES at most."""
    order = sorted(device.slides.items(), key=lambda item: item[1].state == "known")
    lines = [f"{name.removesuffix('/')}: {told(domain)}" for name, domain in order[:MOST_SLIDES]]
    return [*lines, f"and {len(order) - MOST_SLIDES} more"] if len(order) > MOST_SLIDES else lines


def told(domain: Domain) -> str:
    """What the cells of a slide say of it."""
    mean = "too few to tell" if domain.mean_confidence is None else f"mean confidence {domain.mean_confidence:.3f}"
    return f"{domain.state} ({mean}, {domain.cells} cells)"
