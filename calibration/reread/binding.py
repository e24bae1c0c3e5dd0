"""What a result depends on beside the images: bundles, settings, code and libraries. A result is good for one binding only."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

import calibration.reread
import edgecell
from edgecell.app import Chosen, Plan
from edgecell.bundle import Bundle
from edgecell.errors import SettingsError

LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime")
CHECKOUT_FIX = "give every worker the same checkout and the same requirements, and start it again"


class WorkerMismatch(SettingsError):
    """A worker whose results would not be those of this process."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What computes. code: sha256 of edgecell's and this package's source. python: major.minor. machine: x86_64, aarch64."""

    edgecell: str
    code: str
    python: str
    machine: str
    libraries: dict[str, str]


class BundleId(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle and the kind of cell that it labels, or "segmenter"."""

    role: str
    name: str
    version: str
    sha256: str


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """All that a result depends on beside the images. settings_sha256: of the segmenter's and the engines' options."""

    environment: Environment
    settings_sha256: str
    bundles: tuple[BundleId, ...]


@cache
def environment() -> Environment:
    """That of this process."""
    return Environment(
        edgecell=edgecell.__version__,
        code=_code(),
        python=".".join(platform.python_version_tuple()[:2]),
        machine=platform.machine(),
        libraries={name: version(name) for name in LIBRARIES},
    )


def binding(plan: Plan) -> Binding:
    """That of results made with a plan in this process."""
    engines = {role: _options(engine) for role, engine in plan.engines.items()}
    parts = {"segmenter": _options(plan.segmenter), "engines": engines}
    finder = {} if plan.segmenter_bundle is None else {"segmenter": plan.segmenter_bundle}
    return Binding(
        environment=environment(),
        settings_sha256=hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest(),
        bundles=tuple(_identity(role, bundle) for role, bundle in {**finder, **plan.bundles}.items()),
    )


def check(mine: Environment, theirs: Environment, who: str) -> None:
    """Raises WorkerMismatch that names every difference."""
    one, other = _flat(mine), _flat(theirs)
    told = [f"{name} {other[name]} instead of {one[name]}" for name in one if one[name] != other[name]]
    if told:
        raise WorkerMismatch(f"{who} differs from this process: {', '.join(told)}", fix=CHECKOUT_FIX)


def _flat(given: Environment) -> dict[str, str]:
    fields = msgspec.structs.asdict(given)
    libraries: dict[str, str] = fields.pop("libraries")
    return {**fields, "code": given.code[:12], **libraries}


def _code() -> str:
    """Versions stay the same from one commit to the next; what is computed does not."""
    digest = hashlib.sha256()
    for package in (edgecell, calibration.reread):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _options(chosen: Chosen) -> dict[str, Any]:
    return {"part": chosen.name, "options": msgspec.to_builtins(chosen.options, enc_hook=str)}


def _identity(role: str, bundle: Bundle) -> BundleId:
    return BundleId(role=role, name=bundle.manifest.name, version=bundle.manifest.version, sha256=bundle.sha256)
