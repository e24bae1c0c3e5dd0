"""Model bundles: a folder with a manifest, the model in its encodings, golden cells and a card.

What a class means is data in the manifest, never code. Opening a bundle checks its schema and the sha256 of every file, so a
model that was cut short or altered on its way to a device is found before it labels a cell.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from edgecell import certificate as certificates
from edgecell.certificate import CERTIFICATE, Certificate
from edgecell.detection import Detection, problems
from edgecell.errors import BundleCorrupt, BundleError
from edgecell.files import read_limited
from edgecell.preprocess import Preprocess
from edgecell.signature import ANY, SIGNATURE, Signature, Trust, judge

MANIFEST = "manifest.json"
LOGITS = "logits"
SHIPPED = Path(__file__).parent / "bundles"

Group = Literal["leukocyte", "erythroid", "megakaryocytic", "red_cell", "platelet", "epithelial", "other", "reject"]
Specimen = Literal["blood", "marrow", "balf"]
Encoding = Literal["float", "fp16", "s8s8", "u8s8"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Metric = float | str | None


class CellClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class that the model tells apart, in the order of its outputs.

    lineage: e.g. "granulocytic", "blast" or both. in_differential: whether decided cells of it are part of the 100 %.
    loinc: LOINC code of its percentage (per 100 cells outside the differential), or "". "reject" is no cell: counted as unsure.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]*$")]
    abbreviation: str
    group: Group
    lineage: str = ""
    in_differential: bool = False
    loinc: str = ""


class BatchRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cells in one call of the model: what every engine must take (min, max) and what it is tuned for (opt)."""

    min: Positive = 1
    opt: Positive = 16
    max: Positive = 64


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model's input. shape: (channels, height, width), the batch axis in front is left out.

    multiple: a fully convolutional model takes any multiple of it as height and width, up to `shape`; None takes `shape` only.
    usual: (height, width) that an engine tunes such a model for.
    """

    name: str
    shape: tuple[Positive, Positive, Positive]
    multiple: Positive | None = None
    usual: tuple[Positive, Positive] | None = None
    dtype: Literal["float32"] = "float32"
    batch: BatchRange = BatchRange()


class OutputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One output, float32. shape: without the batch axis in front; 0 is an axis that follows the size of the input."""

    name: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]


class Confidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """temperature divides the logits before the softmax; a cell whose largest probability is under unsure_below is unsure.

    foreign_below: a slide whose cells have a lower mean confidence looks foreign (see edgecell.domain); 0 never does.
    """

    temperature: Annotated[float, msgspec.Meta(gt=0)]
    unsure_below: Annotated[float, msgspec.Meta(ge=0, le=1)]
    foreign_below: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class RangeTrial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one method for INT8 ranges gave, by encoding, on training cells that set no range.

    error: root mean square deviation of the outputs from the float model's, in standard deviations of these. agreement: share
    of cells (of pixels, where the output is a map) with the float model's best class; null without classes.
    """

    method: str
    error: Mapping[str, float]
    agreement: Mapping[str, float | None]


class FineTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training of all weights with quantization simulated, because more accuracy was lost without: drop_before, by encoding."""

    steps: int
    rate: float
    drop_before: Mapping[str, float]


class Quantization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the INT8 encodings were made. calibration_cells: crops that set the ranges. kept_float: nodes left float in both.

    compared: the methods tried, on compared_cells training cells. drop: accuracy lost on the validation cells, by encoding, as
    a share of the cells; negative where INT8 is right more often.
    """

    method: str
    calibration_cells: int
    kept_float: tuple[str, ...] = ()
    compared: tuple[RangeTrial, ...] = ()
    compared_cells: int = 0
    drop: Mapping[str, float] = {}
    fine_tuning: FineTuning | None = None


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data set that went into the model. source: DOI or address.

    pixel_um: micrometres per pixel that its cells were cut at, null where each field has its own. pixel_um_source: where that
    number is from; it begins with "assumed" where nobody published it. classes: the dataset's own class -> the model's, null
    where they go by the same names.
    """

    name: str
    licence: str
    source: str = ""
    pixel_um: float | None = None
    pixel_um_source: str = ""
    classes: Mapping[str, str] | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model comes from. split: the committed file of names. commit: of the workshop that built it."""

    datasets: tuple[Dataset, ...]
    split: str
    recipe_sha256: Sha256
    commit: str
    seed: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that edgecell knows of a model.

    detection: of a segmenter. tolerant: groups of classes that tolerant scoring lets stand for one another; a run does not use
    them. files: path inside the bundle -> sha256. metrics: name -> value, or a table of values; null is "not enough cells to
    say".
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: str
    task: Literal["classify", "segment"]
    specimen: Specimen
    classes: tuple[CellClass, ...]
    input: InputSpec
    preprocess: Preprocess
    outputs: tuple[OutputSpec, ...]
    confidence: Confidence
    detection: Detection | None = None
    quantization: Quantization
    tolerant: tuple[tuple[str, ...], ...] = ()
    files: Mapping[str, Sha256]
    metrics: Mapping[str, Metric | Mapping[str, Metric]]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An opened, verified bundle. path: its folder. sha256: of the manifest, which in turn fixes every file.

    trusted_key: the file of the public key that the signature was verified with, "" where none of the listed keys signed it.
    """

    path: Path
    manifest: Manifest
    sha256: str
    certificate: Certificate | None = None
    signature: Signature | None = None
    trusted_key: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the model's outputs."""
        return tuple(each.name for each in self.manifest.classes)

    @property
    def proof(self) -> str:
        """What vouches for it, in words."""
        if self.certificate is None:
            return "no certificate"
        if self.signature is None:
            return f"{self.certificate}; not signed"
        by = f"verified with {self.trusted_key}" if self.trusted_key else "which no key of [trust] keys has verified"
        return f"{self.certificate}; signed by key {self.signature.key}, {by}"

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists. Raises BundleError for any other."""
        if name not in self.manifest.files:
            has = ", ".join(sorted(self.manifest.files)) or "no files"
            raise BundleError(
                f"bundle {self.manifest.name} has no {name}", fix=f"it has: {has}; choose another engine or bundle"
            )
        return self.path / name


def shipped() -> tuple[str, ...]:
    """Names of the bundles that come with edgecell."""
    return tuple(sorted(each.parent.name for each in SHIPPED.glob(f"*/{MANIFEST}")))


def open_bundle(name_or_dir: str | Path, trust: Trust = ANY) -> Bundle:
    """Open and verify a shipped bundle by its bare name, or any folder that holds one.

    A bare name that is not shipped is tried as a folder. Raises BundleError (unknown, unreadable, or it does not show what
    `trust` asks for), BundleCorrupt (schema, missing file, wrong sha256, a certificate or signature that is not its own).
    """
    folder = _locate(name_or_dir)
    try:
        raw = read_limited(folder / MANIFEST)
    except FileNotFoundError:
        raise BundleCorrupt(f"bundle {folder} has no {MANIFEST}", fix="copy the bundle again, all its files") from None
    except OSError as error:
        raise BundleError(f"cannot read {folder / MANIFEST}: {error.strerror}", fix="check its permissions") from error
    manifest = parse_manifest(raw, where=folder / MANIFEST)
    for name, expected in manifest.files.items():
        _verify(folder, name, expected)
    certificate = _certificate(folder, manifest, raw)
    signature, trusted_key = judge(folder, trust, certified=certificate is not None)
    return Bundle(
        path=folder,
        manifest=manifest,
        sha256=hashlib.sha256(raw).hexdigest(),
        certificate=certificate,
        signature=signature,
        trusted_key=trusted_key,
    )


def parse_manifest(raw: bytes, *, where: Path) -> Manifest:
    """The manifest of JSON bytes. `where` is named in errors. Raises BundleCorrupt when schema or sense is violated."""
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fix = "copy the bundle again, or use the edgecell version that it was made for"
        raise BundleCorrupt(f"{where}: {error}", fix=fix) from None
    problem = next(_problems(manifest), None)
    if problem is not None:
        raise BundleCorrupt(f"{where}: {problem}", fix="build the bundle again with the workshop")
    return manifest


def write_manifest(folder: Path, manifest: Manifest, certificate: Certificate | None = None) -> Bundle:
    """Write `manifest` with the sha256 of every file that lies in `folder`, and open the result. Raises as open_bundle.

    certificate: of this bundle; what it says of the manifest is filled in here. One that lay there before, and its signature,
    spoke of another manifest: they are removed.
    """
    for name in (MANIFEST, CERTIFICATE, SIGNATURE):
        (folder / name).unlink(missing_ok=True)
    files = {each.relative_to(folder).as_posix(): sha256_of(each) for each in sorted(folder.rglob("*")) if each.is_file()}
    manifest = msgspec.structs.replace(manifest, files=files)
    if certificate is not None:
        bound = msgspec.structs.replace(certificate, manifest=certificates.core(msgspec.json.encode(manifest)))
        (folder / CERTIFICATE).write_bytes(certificates.encode(bound))
        manifest = msgspec.structs.replace(manifest, files={**files, CERTIFICATE: sha256_of(folder / CERTIFICATE)})
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return open_bundle(folder.resolve())


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _locate(name_or_dir: str | Path) -> Path:
    name = str(name_or_dir)
    if name in shipped():
        return SHIPPED / name
    folder = Path(name_or_dir)
    if not os.path.isdir(folder):  # noqa: PTH112 Path.is_dir raises for a name that is too long
        known = ", ".join(shipped()) or "(none)"
        raise BundleError(f"no bundle {name!r}", fix=f"give the folder of a bundle, or a shipped one: {known}")
    return folder


def _problems(manifest: Manifest) -> Iterator[str]:
    """What the schema cannot say."""
    names = [each.name for each in manifest.classes]
    if not names or len(set(names)) != len(names):
        yield f"class names must be present and unique, not {names}"
    size, batch = manifest.preprocess.size_px, manifest.input.batch
    if manifest.input.shape != (3, size, size):
        yield f"input shape {manifest.input.shape} is not what preprocess makes, (3, {size}, {size})"
    if not batch.min <= batch.opt <= batch.max:
        yield f"batch min <= opt <= max does not hold: {batch.min}, {batch.opt}, {batch.max}"
    shapes = {each.name: each.shape for each in manifest.outputs}
    if manifest.task == "classify" and shapes.get(LOGITS) != (len(names),):
        yield f"a classifier needs an output {LOGITS!r} of shape ({len(names)},), one number a class"
    strangers = sorted({name for group in manifest.tolerant for name in group} - set(names))
    if strangers:
        yield f"tolerant names what is no class: {', '.join(strangers)}"
    if manifest.task == "segment":
        yield from problems(manifest.detection, len(names), manifest.input.multiple, manifest.input.usual, size)
    yield from (f"unsafe path {name!r} in files" for name in manifest.files if not _is_safe(name))


def _is_safe(name: str) -> bool:
    """Whether a path stays inside the bundle on every system."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not set(name) & {"\\", ":", "\0"}


def _certificate(folder: Path, manifest: Manifest, raw: bytes) -> Certificate | None:
    """The certificate that the manifest, `raw` in its file, lists. Raises BundleCorrupt for one that is not this bundle's."""
    path = folder / CERTIFICATE
    if CERTIFICATE in manifest.files:
        return certificates.read(path, raw)
    if path.exists():
        fix = "copy the bundle again, all its files, or build it again with the workshop"
        raise BundleCorrupt(f"{folder} holds a {CERTIFICATE} that its {MANIFEST} does not list", fix=fix)
    return None


def _verify(folder: Path, name: str, expected: str) -> None:
    try:
        actual = sha256_of(folder / name)
    except FileNotFoundError:
        raise BundleCorrupt(f"bundle {folder} lacks {name}", fix="copy the bundle again, all its files") from None
    except OSError as error:
        raise BundleError(f"cannot read {folder / name}: {error.strerror}", fix="check its permissions") from error
    if actual != expected:
        raise BundleCorrupt(
            f"{folder / name} is not the file that {MANIFEST} lists (its sha256 differs)", fix="copy the bundle again"
        )
