"""The certificate of a bundle: what was measured and with what, the limits it had to meet, the manifest that this is true of.

`certificate.json` lies beside `manifest.json`, and the two hold each other: the manifest lists the sha256 of every file, the
certificate's among them, and the certificate repeats the whole manifest but for that one entry. So a file, a threshold, a
figure or a certificate that was exchanged alone does not fit any more. Whoever exchanges everything can write a bundle of their
own; only a signature tells that one from the workshop's (see edgecell.signature).
"""

import json
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgecell.errors import BundleCorrupt
from edgecell.files import read_limited

CERTIFICATE = "certificate.json"
LIBRARIES = ("onnx", "onnxruntime", "torch", "numpy", "opencv-python-headless")
Bound = Literal["at least", "at most"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_AGAIN = "copy the bundle again, all its files; one that was changed on purpose needs a certificate of its own"


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured number. value: None is "not enough cells to say". n: cells, or None where it counts no cells.

    low, high: its 95 % interval, or None.
    """

    value: float | None
    n: int | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        value = "insufficient" if self.value is None else f"{self.value:.5g}"
        interval = "" if self.low is None or self.high is None else f", 95 % {self.low:.4g}-{self.high:.4g}"
        return value if self.n is None else f"{value} (n {self.n}{interval})"


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit that was set and met. figure: its name. value: that figure's. margin: how far inside the limit."""

    figure: str
    bound: Bound
    limit: float
    value: float
    margin: Annotated[float, msgspec.Meta(ge=0)]


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bundle that an adapted one was made from: its name, its version, the sha256 of its manifest."""

    name: str
    version: str
    sha256: Sha256


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle is certified with.

    manifest: the bundle's manifest as it stands in the file, without the entry for this certificate among its files.
    measured_on: the cells that the figures are from, in words; figures with `.val.` in their name are from the validation part.
    splits: file of names -> sha256, of every dataset of the recipe. recipe_sha256, commit: of the recipe with the limits, and
    of the workshop that measured. libraries: name -> version, of what is installed there.
    adapted_from: None for a bundle of the workshop. An adapted bundle has no test cells, so no split, no recipe and no limits.
    """

    schema: Literal["certificate/1"] = "certificate/1"
    manifest: dict[str, Any] = {}
    measured_on: Annotated[str, msgspec.Meta(min_length=1)]
    figures: Mapping[str, Figure]
    libraries: Mapping[str, str]
    limits: tuple[Limit, ...] = ()
    splits: Mapping[str, Sha256] = {}
    recipe_sha256: Sha256 | None = None
    commit: str = ""
    adapted_from: Origin | None = None

    def __str__(self) -> str:
        if self.adapted_from is not None:
            origin = self.adapted_from
            return f"certificate: adapted from {origin.name} {origin.version}, measured on {self.measured_on}, no test split"
        tight = min(self.limits, key=lambda each: each.margin / max(abs(each.limit), 1e-9), default=None)
        closest = "" if tight is None else f", the closest {tight.figure} {tight.value:.5g}, {tight.bound} {tight.limit:g}"
        met = f"{len(self.limits)} limit{'s' * (len(self.limits) != 1)} met"
        return f"certificate: {len(self.figures)} figures of the {self.measured_on}, {met}{closest}"


def margin_of(bound: Bound, limit: float, value: float) -> float:
    """How far `value` is inside the limit; negative is how far it misses."""
    return value - limit if bound == "at least" else limit - value


def versions() -> dict[str, str]:
    """Of Python and of those LIBRARIES that are installed."""
    found = {name: _version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def canonical(raw: bytes) -> bytes:
    """The JSON that is signed: keys sorted, no whitespace, UTF-8 without escapes, numbers as Python's repr writes them.

    So a signature holds however the file is indented, on every version of every library.
    """
    return json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def core(manifest: bytes) -> dict[str, Any]:
    """A manifest's JSON without the entry for the certificate."""
    plain: dict[str, Any] = json.loads(manifest)
    return {**plain, "files": {name: sha256 for name, sha256 in plain["files"].items() if name != CERTIFICATE}}


def encode(certificate: Certificate) -> bytes:
    """The file, indented for people."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def read(path: Path, manifest: bytes) -> Certificate:
    """The certificate in a file, and proof that it is this manifest's. Raises BundleCorrupt that names what differs."""
    try:
        certificate = msgspec.json.decode(read_limited(path), type=Certificate)
        different = list(_differences(core(manifest), certificate.manifest))
    except OSError as error:
        raise BundleCorrupt(f"{path}: {error.strerror}", fix=_AGAIN) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BundleCorrupt(f"{path}: {error}", fix=_AGAIN) from None
    if different:
        more = f" (and {len(different) - 1} more)" if different[1:] else ""
        raise BundleCorrupt(f"{path} is not of this bundle: in the manifest {different[0]}{more}", fix=_AGAIN)
    problem = next(_problems(certificate), None)
    if problem is not None:
        raise BundleCorrupt(f"{path}: {problem}", fix=_AGAIN)
    return certificate


def _differences(found: object, certified: object, where: str = "") -> Iterator[str]:
    """Every place where two trees of JSON differ, in words."""
    if isinstance(found, dict) and isinstance(certified, dict):
        for key in sorted(found.keys() | certified.keys()):
            place = f"{where}.{key}" if where else str(key)
            if key not in certified:
                yield f"{place} was added"
            elif key not in found:
                yield f"{place} is missing"
            else:
                yield from _differences(found[key], certified[key], place)
    elif isinstance(found, list) and isinstance(certified, list) and len(found) == len(certified):
        for number, pair in enumerate(zip(found, certified, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif found != certified:
        yield f"{where} is {_short(found)}, certified is {_short(certified)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _problems(certificate: Certificate) -> Iterator[str]:
    """Where the certificate contradicts itself: a figure was edited, or a limit."""
    metrics = certificate.manifest.get("metrics", {})
    for name, figure in certificate.figures.items():
        if name in metrics and metrics[name] != figure.value:
            yield f"figure {name} is {_short(figure.value)}, the manifest's metrics say {_short(metrics[name])}"
    for each in certificate.limits:
        figure = certificate.figures.get(each.figure, Figure(value=None))
        if figure.value != each.value:
            yield f"limit on {each.figure} was met with {each.value:g}, the figure is {_short(figure.value)}"
        if margin_of(each.bound, each.limit, each.value) != each.margin:
            yield f"limit on {each.figure}: {each.value:g}, {each.bound} {each.limit:g}, is no margin of {each.margin:g}"
