"""Whole labelled fields on the device's own path: what becomes of their white cells, and what else is counted as one.

Segmenter, crops, network and threshold are those of a run; only the gate lets everything through. The scale comes as in a run:
the segmenter measures it, squashed fields included. All fields of one source are one slide, fed in the order of their names
to a segmenter that knows nothing at first.

The labels say "white cell" and no more. So a cell of them that is decided may be wrong though it counts as right here, but
never right if it is decided as a platelet or a red cell. Platelets and red cells are no business of the network: `[models]`
routes only nucleated cells to a bundle, the others keep the segmenter's kind, which `calibration.fields` scores.

The hold-back is given as the domain of all cells of a slide has it. A run knows only those that came before, 200 at most.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace

import msgspec
import numpy as np

from calibration.fields import IOU, KINDS, Field, frame_of, match
from calibration.metrics import Share
from edgecell import clock, pipeline
from edgecell.bundle import Bundle, Group, Manifest
from edgecell.classify import Classifier
from edgecell.domain import domain_of, telling
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.gate import GateState, Limits
from edgecell.golden import replay
from edgecell.messages import NUCLEATED, Cell, Classification, Domain, FrameReport
from edgecell.protocols import Segmenter

OPEN = Limits(mean_level=0, saturated_fraction=1, structure=0, blur_um=float("inf"), unscaled_blur_um=float("inf"))
POSSIBLE: tuple[Group, ...] = ("leukocyte", "erythroid")
"""What a labelled white cell can be: readers of smears box erythroblasts as white cells, too."""
EVERY = "all"
NOTE = "A cell counts whose centre is 10 um inside. Border cells are not all labelled: what has no label may be a white cell."
_MANY = 10**6  # trials so many that the binomial is the Poisson distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What became of n cells. labels: decided, by class; what is taken for no cell is not decided. groups: of the classes."""

    n: int
    labels: Mapping[str, int]
    groups: Mapping[str, Group]

    @property
    def decided(self) -> Share:
        return Share(count=sum(self.labels.values()), n=self.n)

    @property
    def leukocytes(self) -> Share:
        return self._share(("leukocyte",))

    @property
    def impossible(self) -> Share:
        """Decided as something that no white cell is."""
        return Share(count=self.decided.count - self._share(POSSIBLE).count, n=self.n)

    def held_back(self, domain: Domain) -> "Decisions":
        """None of them decided where the slide is foreign."""
        return self if domain.state == "known" else replace(self, labels={})

    def __add__(self, other: "Decisions") -> "Decisions":
        return replace(self, n=self.n + other.n, labels=Counter(self.labels) + Counter(other.labels))

    def _share(self, groups: tuple[Group, ...]) -> Share:
        return Share(count=sum(count for label, count in self.labels.items() if self.groups[label] in groups), n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells found, and not excluded. white: those that match a labelled white cell. others: nucleated cells that match none."""

    white: Decisions
    others: Decisions

    @property
    def false_leukocytes(self) -> tuple[float, tuple[float, float]]:
        """Others decided as leukocytes per 100 `white`, with exact 95 % limits of a Poisson count (Garwood 1936)."""
        count, per = self.others.leukocytes.count, 100 / self.white.n if self.white.n else float("nan")
        low, high = Share(count=count, n=_MANY).interval
        return count * per, (low * _MANY * per, high * _MANY * per)

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        rate, interval = self.false_leukocytes
        return {
            "white": {
                "decided": self.white.decided.summary(),
                "leukocytes": self.white.leukocytes.summary(),
                "impossible": self.white.impossible.summary(),
                "labels": self.white.labels,
            },
            "others": {"decided": self.others.decided.summary(), "labels": self.others.labels},
            "false_leukocytes_per_100": {"value": rate, "interval": interval},
        }

    def __add__(self, other: "Cells") -> "Cells":
        return Cells(white=self.white + other.white, others=self.others + other.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """The fields of one source, or of all. domain: None for all.

    labelled: white cells. found: those that the segmenter found, at the edge or not. beside: `others` whose centre lies in the
    box of a labelled white cell, found with too small an overlap or twice. network: as the network alone decides. held: with
    the slide's hold-back.
    """

    fields: int
    labelled: int
    found: int
    beside: int
    network: Cells
    held: Cells
    domain: Domain | None

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        counts = {"fields": self.fields, "labelled": self.labelled, "found": self.found, "beside": self.beside}
        domain = None if self.domain is None else asdict(self.domain)
        return {**counts, "domain": domain, "network": self.network.summary(), "held": self.held.summary()}

    def __add__(self, other: "Slide") -> "Slide":
        return Slide(
            fields=self.fields + other.fields,
            labelled=self.labelled + other.labelled,
            found=self.found + other.found,
            beside=self.beside + other.beside,
            network=self.network + other.network,
            held=self.held + other.held,
            domain=None,
        )

    def __str__(self) -> str:
        white, others = self.network.white, self.network.others
        ways = {"network alone": self.network, "with hold-back": self.held}
        if self.held == self.network:
            ways = {"hold-back or not": self.network}
        lines = [
            f"{self.fields} fields{_told(self.domain)}",
            f"  white cells: {self.labelled} labelled, {self.found} found, {white.n} found and counting; {_named(white)}",
            *(line for way, cells in ways.items() for line in _of_white(way, cells.white)),
            f"  other nucleated cells: {others.n} counting, {self.beside} in the box of a white cell; {_named(others)}",
            *(line for way, cells in ways.items() for line in _of_others(way, cells)),
        ]
        return "\n".join(lines)


def _told(domain: Domain | None) -> str:
    if domain is None:
        return ""
    mean = "too few" if domain.mean_confidence is None else f"mean confidence {domain.mean_confidence:.3f}"
    return f", {domain.state} ({mean}, {domain.cells} cells)"


def _named(decisions: Decisions) -> str:
    return ", ".join(f"{label} {count}" for label, count in sorted(decisions.labels.items())) or "none decided"


def _of_white(way: str, white: Decisions) -> list[str]:
    return [
        f"    {way:<18}decided                 {white.decided}",
        f"    {'':<18}as a leukocyte          {white.leukocytes}",
        f"    {'':<18}as what it cannot be    {white.impossible}",
    ]


def _of_others(way: str, cells: Cells) -> list[str]:
    rate, (low, high) = cells.false_leukocytes
    return [
        f"    {way:<18}counted as a class      {cells.others.decided}",
        f"    {'':<18}false leukocytes        {rate:.2f} per 100 white cells counting (95 % {low:.2f}-{high:.2f})",
    ]


@contextmanager
def opened(bundle: Bundle) -> Iterator[Classifier]:
    """The bundle on ONNX Runtime as a run has it, golden cells replayed, but for the hold-back, which is off."""
    encoding = OnnxRuntimeEngine.encoding_of(bundle, OnnxRuntimeEngine.Options())
    confidence = msgspec.structs.replace(bundle.manifest.confidence, foreign_below=0.0)
    with OnnxRuntimeEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest) as engine:
        replay(bundle, engine, encoding)
        yield Classifier(engine, replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, confidence=confidence)))


def evaluate(
    fields: Sequence[Field], bundle: Bundle, make: Callable[[], AbstractContextManager[Segmenter]]
) -> dict[str, Slide]:
    """EVERY, then each source. make: gives a fresh segmenter for each. Raises BundleError, EngineError."""
    slides: dict[str, Slide] = {}
    with opened(bundle) as classifier:
        for source in sorted({field.source for field in fields}):
            mine = [field for field in fields if field.source == source]
            with make() as segmenter:
                reports = list(reports_of(mine, segmenter, classifier))
            slides[source] = compared(mine, reports, bundle.manifest)
    first, *others = slides.values()
    return {EVERY: sum(others, replace(first, domain=None)), **slides}


def reports_of(fields: Sequence[Field], segmenter: Segmenter, classifier: Classifier) -> Iterator[FrameReport]:
    """The fields of one slide as a run would report them. The gate starts anew each time: what it learns would make it refuse
    again."""
    slide = pipeline.SlideState()
    for index, field in enumerate(fields):
        detected, _ = pipeline.detect(frame_of(field, index), segmenter, OPEN, GateState(), clock.monotonic_ns)
        [made], slide = pipeline.classify([detected], {NUCLEATED: classifier}, slide, clock.monotonic_ns)
        yield made


def compared(fields: Sequence[Field], reports: Sequence[FrameReport], manifest: Manifest) -> Slide:
    """The fields of one slide beside what was found in them. manifest: with the hold-back's limit."""
    white: list[Classification] = []
    others: list[Classification] = []
    labelled = found = beside = 0
    for field, made in zip(fields, reports, strict=True):
        cells = [cell for cell in made.cells if cell.kind == NUCLEATED]
        answers = {answer.cell_index: answer for answer in made.classifications}
        boxes = field.boxes[field.kinds == KINDS.index(NUCLEATED)]
        matched = {at for at, _ in match(np.array([cell.box_px for cell in cells], np.float64).reshape(-1, 4), boxes)}
        labelled, found = labelled + len(boxes), found + len(matched)
        for at, cell in enumerate(cells):
            if cell.excluded is None:
                (white if at in matched else others).append(answers[cell.cell_index])
                beside += at not in matched and _inside(cell, boxes.tolist())
    domain = domain_of(telling([*white, *others], manifest), manifest)
    network = Cells(white=_decisions(white, manifest), others=_decisions(others, manifest))
    held = Cells(white=network.white.held_back(domain), others=network.others.held_back(domain))
    return Slide(fields=len(fields), labelled=labelled, found=found, beside=beside, network=network, held=held, domain=domain)


def _inside(cell: Cell, boxes: Sequence[tuple[float, float, float, float]]) -> bool:
    x, y = cell.centre_px
    return any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes)


def _decisions(answers: Sequence[Classification], manifest: Manifest) -> Decisions:
    groups = {each.name: each.group for each in manifest.classes}
    kept = Counter(each.label for each in answers if each.decided and groups[each.label] != "reject")
    return Decisions(n=len(answers), labels=kept, groups=groups)


def text(slides: Mapping[str, Slide]) -> str:
    """All slides for a reader."""
    rows = [f"{source}: {slide}" for source, slide in slides.items()]
    return "\n".join([*rows, f"Boxes one to one at IoU {IOU}. {NOTE}"])
