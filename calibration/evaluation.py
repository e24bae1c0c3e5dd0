"""All that is found when a bundle is scored on labelled cells, as the network alone decides and as the device would."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.coverage import Coverage, coverage
from calibration.evaluate import FILES, run, score
from calibration.labelled import Labelled
from calibration.metrics import Figures, Share
from calibration.paired import Paired, paired
from calibration.reliability import Reliability, reliability
from edgecell.bundle import LOGITS, Bundle, Encoding, Manifest
from edgecell.classify import softmax
from edgecell.domain import domain_of
from edgecell.errors import SettingsError
from edgecell.messages import Domain

INT8: Encoding = "u8s8"
BOTH: tuple[Encoding, ...] = (INT8, "float")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """What a model makes of n cells of known label. called, truth: class indices (n,). confidence: (n,). decided: (n,), by the
    network alone. held: (n,), decided and on a slide that is not held back."""

    called: NDArray[np.int64]
    truth: NDArray[np.int64]
    confidence: NDArray[np.float64]
    decided: NDArray[np.bool_]
    held: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.called == self.truth)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevice:
    """With the hold-back. slides: name -> domain, of all its cells; a run knows only those that came before, 200 at most."""

    slides: dict[str, Domain]
    decided: Share
    right_of_decided: Share
    wrong: Share

    @property
    def foreign(self) -> int:
        return sum(domain.state == "foreign" for domain in self.slides.values())

    def summary(self) -> dict[str, object]:
        """As plain values."""
        shares = {"decided": self.decided, "right_of_decided": self.right_of_decided, "wrong": self.wrong}
        slides = {name: asdict(domain) for name, domain in self.slides.items()}
        return {**{name: share.summary() for name, share in shares.items()}, "foreign": self.foreign, "slides": slides}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """One encoding on the cells."""

    encoding: Encoding
    calls: Calls
    figures: Figures
    device: OnDevice
    reliability: Reliability
    coverage: Coverage

    def summary(self) -> dict[str, object]:
        """As plain values."""
        return {
            **self.figures.summary(),
            "on_device": self.device.summary(),
            "reliability": self.reliability.summary(),
            "coverage": [point.summary() for point in self.coverage.table()],
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """A bundle on labelled cells. paired: INT8 beside FP32, None unless both were run."""

    bundle: Bundle
    labelled: Labelled
    scored: tuple[Scored, ...]
    paired: Paired | None

    def summary(self) -> dict[str, object]:
        """As plain values."""
        manifest = self.bundle.manifest
        return {
            "bundle": {"name": manifest.name, "version": manifest.version, "sha256": self.bundle.sha256},
            **self.labelled.summary(),
            "results": {each.encoding: each.summary() for each in self.scored},
            "int8_less_fp32": self.paired and self.paired.summary(),
        }


def evaluate(bundle: Bundle, labelled: Labelled, encodings: Sequence[Encoding] = BOTH) -> Evaluation:
    """Raises SettingsError where the bundle labels no cells, BundleError where it lacks an encoding, EngineError."""
    if bundle.manifest.task != "classify":
        raise SettingsError(
            f"{bundle.path} labels no cells", fix="score a segmenter with `python -m calibration evaluate-fields`"
        )
    seen = labelled.cells.seen(bundle.manifest.preprocess)
    logits = {name: logits_of(bundle, seen, name) for name in encodings}
    done = tuple(scored(bundle.manifest, labelled, name, each) for name, each in logits.items())
    calls = {each.encoding: each.calls for each in done}
    both = [calls[name].called for name in BOTH if name in calls]
    beside = paired(both[0], both[1], done[0].calls.truth) if len(both) == 2 else None
    return Evaluation(bundle=bundle, labelled=labelled, scored=done, paired=beside)


def logits_of(bundle: Bundle, seen: NDArray[np.uint8], encoding: Encoding) -> NDArray[np.float32]:
    """Of crops as the device shows them to the network. Raises BundleError where the bundle has no such file, EngineError."""
    bundle.file(FILES[encoding])
    return run(bundle.path, encoding, seen, bundle.manifest.preprocess)[LOGITS]


def scored(manifest: Manifest, labelled: Labelled, encoding: Encoding, logits: NDArray[np.float32]) -> Scored:
    """logits: (n, classes) of all of the labelled cells."""
    cells, confidence = labelled.cells, manifest.confidence
    names = tuple(each.name for each in manifest.classes)
    reject = [each.name for each in manifest.classes if each.group == "reject"]
    calls, slides = calls_of(manifest, cells.truth, cells.slides, logits)
    answerable = ~np.isin(np.array(names)[calls.called], reject)
    return Scored(
        encoding=encoding,
        calls=calls,
        figures=score(logits, cells.truth, confidence, names, reject=reject, tolerant=manifest.tolerant),
        device=on_device(calls, slides),
        reliability=reliability(calls.confidence, calls.right),
        coverage=coverage(calls.confidence, calls.right, answerable),
    )


def calls_of(
    manifest: Manifest, truth: NDArray[np.int64], slides: Sequence[str], logits: NDArray[np.float32]
) -> tuple[Calls, dict[str, Domain]]:
    """The calls on cells of known label, and the domain of every slide, which goes by all of its cells."""
    probabilities = softmax(logits, manifest.confidence.temperature)
    called, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    reject = [number for number, each in enumerate(manifest.classes) if each.group == "reject"]
    a_cell, of_slide = ~np.isin(called, reject), np.array(slides)
    decided = (confidence >= manifest.confidence.unsure_below) & a_cell
    domains = {slide: domain_of(confidence[a_cell & (of_slide == slide)].tolist(), manifest) for slide in dict.fromkeys(slides)}
    foreign = [slide for slide, domain in domains.items() if domain.state == "foreign"]
    held, known = decided & ~np.isin(of_slide, foreign), truth >= 0
    calls = Calls(
        called=called[known], truth=truth[known], confidence=confidence[known], decided=decided[known], held=held[known]
    )
    return calls, domains


def on_device(calls: Calls, slides: dict[str, Domain]) -> OnDevice:
    """What a run would give out."""
    n, sure = len(calls.truth), int(calls.held.sum())
    return OnDevice(
        slides=slides,
        decided=Share(count=sure, n=n),
        right_of_decided=Share(count=int((calls.right & calls.held).sum()), n=sure),
        wrong=Share(count=int((~calls.right & calls.held).sum()), n=n),
    )
