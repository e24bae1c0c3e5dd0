"""The new bundle: the old files with another last layer, golden cells answered anew, card and manifest brought up to date."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell.adapt.choose import Adapted
from edgecell.adapt.labelled import Labelled
from edgecell.adapt.layer import STATISTICS, Statistics, write_statistics
from edgecell.adapt.onnxfile import with_halves, with_unrounded_sums, write_layer
from edgecell.adapt.report import Figures, Gain
from edgecell.bundle import Bundle, Dataset, Encoding, Manifest, Metric, write_manifest
from edgecell.certificate import CERTIFICATE, Certificate, Figure, Origin, versions
from edgecell.errors import BundleError, SettingsError
from edgecell.golden import GOLDEN, Arrays, read_golden, write_golden
from edgecell.messages import NOTICE

CARD = "CARD.md"
BEFORE = "before_adaptation."
_GOLDEN_ENCODINGS: tuple[Encoding, ...] = ("u8s8", "s8s8")

Infer = Callable[[Path, NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]
"""Runs a file of a bundle on crops uint8 (N, S, S, 3): its outputs by name, float32, N in front."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adaptation:
    """What goes into a new bundle. statistics: of the new microscope, None where the old bundle had none.

    source: what the labelled cells are called. pixel_um: of their images.
    """

    adapted: Adapted
    statistics: Statistics | None
    gain: Gain
    labelled: Labelled
    source: str
    pixel_um: float


def check_free(folder: Path) -> None:
    """Raises SettingsError when a new bundle cannot be written to `folder`, before any work is done for it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there and not empty", fix="give -o a new folder, or remove that one")


def rebundle(old: Bundle, adaptation: Adaptation, infer: Infer, folder: Path) -> Bundle:
    """Write the bundle and open it. The manifest comes last, so what stops halfway is no bundle. Raises BundleError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in old.manifest.files.keys() - {CERTIFICATE}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".onnx"):
            write_layer(old.file(name), adaptation.adapted.layer, folder / name)
        else:
            shutil.copyfile(old.file(name), folder / name)
    if adaptation.statistics is not None:
        write_statistics(folder / STATISTICS, adaptation.statistics)
    _write_golden(old, infer, folder)
    manifest = _manifest(old, adaptation)
    below = (folder / CARD).read_text(encoding="utf-8") if CARD in old.manifest.files else ""
    (folder / CARD).write_text(_card(manifest, adaptation) + below, encoding="utf-8")
    return write_manifest(folder, manifest, _certificate(old, adaptation.gain))


def _write_golden(old: Bundle, infer: Infer, folder: Path) -> None:
    crops = read_golden(old.file(GOLDEN), "u8s8").crops
    encodings = {name: infer(folder / f"{name}.onnx", crops) for name in _GOLDEN_ENCODINGS}
    with TemporaryDirectory() as scratch:
        other: dict[Encoding, Path] = {
            "s8s8": with_halves(folder / "s8s8.onnx", Path(scratch) / "s8s8.onnx"),
            "u8s8": with_unrounded_sums(folder / "u8s8.onnx", Path(scratch) / "u8s8.onnx"),
        }
        also: dict[Encoding, Arrays] = {encoding: infer(model, crops) for encoding, model in other.items()}
    try:
        write_golden(folder / GOLDEN, crops, infer(folder / "float.onnx", crops), encodings, also)
    except ValueError as error:
        fix = "check the labels and --pixel-um, and label more cells"
        raise BundleError(f"the adapted model decides no golden cell clearly ({error})", fix=fix) from None


def _manifest(old: Bundle, adaptation: Adaptation) -> Manifest:
    was = old.manifest
    kept = {name if name.startswith(BEFORE) else BEFORE + name: value for name, value in was.metrics.items()}
    n = len(adaptation.labelled.labels)
    own = Dataset(name=adaptation.source, licence="not stated", source=f"{n} labelled cells, for adaptation only")
    return msgspec.structs.replace(
        was,
        version=f"{was.version.partition('+')[0]}+adapted.{_identity(old, adaptation)}",
        preprocess=msgspec.structs.replace(was.preprocess, pixel_um=adaptation.pixel_um),
        confidence=adaptation.adapted.confidence,
        metrics={**{name: value for name, value in kept.items() if "adaptation." in name}, **_metrics(adaptation.gain)},
        provenance=msgspec.structs.replace(was.provenance, datasets=(*was.provenance.datasets, own)),
    )


def _identity(old: Bundle, adaptation: Adaptation) -> str:
    """Eight hex digits that stand for the old bundle, the cells, their labels and their scale."""
    cells = zip(adaptation.labelled.sha256, adaptation.labelled.labels.tolist(), strict=True)
    lines = [old.sha256, f"{adaptation.pixel_um:g}", *sorted(f"{sha256} {label}" for sha256, label in cells)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _metrics(gain: Gain) -> dict[str, Metric]:
    values: dict[str, Metric] = {"adaptation.cells": float(gain.after.right.n)}
    for name, figures in (("", gain.after), ("_before", gain.before)):
        values[f"adaptation.accuracy{name}"] = figures.right.value
        values[f"adaptation.accuracy{name}_low"], values[f"adaptation.accuracy{name}_high"] = figures.right.interval
        values[f"adaptation.decided{name}"] = figures.decided.value
        values[f"adaptation.decided_and_wrong{name}"] = figures.wrong.value
    return values


def _certificate(old: Bundle, gain: Gain) -> Certificate:
    """Of what was measured here. The old bundle's figures are not this one's; where they came from is on record."""
    figures = {
        f"adaptation.{name}{when}": Figure(value=share.value, n=share.n, low=share.interval[0], high=share.interval[1])
        for when, found in (("", gain.after), ("_before", gain.before))
        for name, share in (("accuracy", found.right), ("decided", found.decided), ("decided_and_wrong", found.wrong))
    }
    return Certificate(
        measured_on="labelled cells of one microscope, each held out once",
        figures=figures,
        libraries=versions(),
        adapted_from=Origin(name=old.manifest.name, version=old.manifest.version, sha256=old.sha256),
    )


def _card(manifest: Manifest, adaptation: Adaptation) -> str:
    gain, confidence = adaptation.gain, manifest.confidence
    rows = "\n".join(
        f"| {name} | {was.right.n} | {was.right.count} | {now.right.count} | {was.wrong.count} | {now.wrong.count} |"
        for name, (was, now) in gain.by_class.items()
    )
    found = "better than before" if gain.better else "NOT better than before beyond chance"
    return f"""# {manifest.name} {manifest.version}

**{NOTICE}**

Adapted to one microscope with {gain.after.right.n} labelled cells ({adaptation.source}, {adaptation.pixel_um:g} um per pixel).
Only the last layer, the temperature ({confidence.temperature:.3f}) and the threshold ({confidence.unsure_below:.4f}) are new.

Five-fold cross-validation, every cell held out once, split by image; exact binomial 95 % intervals: {found}
({gain.gained} cells became right, {gain.lost} wrong).

- before: {_line(gain.before)}
- after: {_line(gain.after)}

| class | n | right before | right after | decided and wrong before | after |
|---|---|---|---|---|---|
{rows}

Classes that are not in this table had no labelled cell: how they are answered on this microscope has not been measured.
All that stands below was measured before the adaptation and does not hold for this bundle.

---

"""


def _line(figures: Figures) -> str:
    return f"right {figures.right}; decided {figures.decided}; decided and wrong {figures.wrong}"
