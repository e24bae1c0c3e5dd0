"""Which engine runs a bundle fastest on this machine, of those that answer as certified: `edgecell prepare` finds it out.

A ranking is a file `engines-BUNDLE-DIGEST.json` beside the plans. It holds for one bundle, one processor with its number of
cores and the versions of all engines that are installed: DIGEST is of all that, so what was measured before an upgrade is not
taken for what is true after it.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgecell import processor
from edgecell.bundle import SHIPPED, Bundle, Sha256
from edgecell.errors import EngineError
from edgecell.files import read_limited, write_whole
from edgecell.messages import NOTICE

PREFERRED = ("trt", "onnxrt", "openvino")
"""Of two engines that are about as fast the first one is taken, so that noise does not choose."""
CLEARLY = 0.95
"""A faster one is taken where it needs no more than this share of the preferred one's time."""
_TITLES = {"processor": "the processor", "cores": "cores"}


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a ranking holds for. processor: name and INT8 instructions. cores: usable ones. engines: name -> version of each
    that is installed."""

    bundle_sha256: Sha256
    processor: str
    cores: int
    engines: Mapping[str, str]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An engine with one of the bundle's encodings.

    options: of the engine, where they are not its own. runs: what it says of itself. p50_ms: median of one inference by batch
    size, host to host. deviation, tolerance: of the golden cells, by output. verdict: `passed`; `refused`, since golden cells
    differ; or `failed`, it does not run here. why, fix: of the last two.
    """

    engine: str
    encoding: str
    options: Mapping[str, Any] = {}
    verdict: Literal["passed", "refused", "failed"]
    why: str = ""
    fix: str = ""
    runs: str = ""
    p50_ms: Mapping[int, float] = {}
    deviation: Mapping[str, float] = {}
    tolerance: Mapping[str, float] = {}


class Ranking(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="engines/1"):
    """What was measured. bundle: its name, for people. batch: the size that the choice is made at. edgecell, utc: the version
    that measured, and when."""

    setup: Setup
    bundle: str
    batch: int
    candidates: tuple[Candidate, ...]
    edgecell: str
    utc: str
    notice: str = NOTICE

    @property
    def used(self) -> Candidate | None:
        """What `auto` takes: the fastest, unless one that is preferred is about as fast; None where none passed."""
        passed = sorted((each for each in self.candidates if each.verdict == "passed"), key=_preference)
        least = min((each.p50_ms[self.batch] for each in passed), default=0.0)
        return next((each for each in passed if each.p50_ms[self.batch] * CLEARLY <= least), None)

    def winner(self) -> Candidate:
        """What `auto` takes. Raises EngineError: none passed."""
        if self.used is None:
            fix = "copy the bundle again, all its files, and prepare it again"
            raise EngineError(f"none of the engines here answers as certified for {self.bundle}", fix=fix)
        return self.used


def setup_of(bundle: Bundle, engines: Mapping[str, str]) -> Setup:
    """The setup of this machine. engines: name -> version of each that is installed."""
    return Setup(
        bundle_sha256=bundle.sha256,
        processor=str(processor.look()),
        cores=len(os.sched_getaffinity(0)),
        engines=dict(sorted(engines.items())),
    )


def exists(bundle: Bundle, folder: Path) -> bool:
    """Whether engines were compared for this bundle at all, on whatever machine."""
    return any(folder.glob(_name(bundle.sha256, "*")))


def find(bundle: Bundle, setup: Setup, folder: Path) -> Ranking:
    """The ranking for this setup. Raises EngineError: there is none, or it cannot be read."""
    fix = f"edgecell prepare {bundle.manifest.name if bundle.path.parent == SHIPPED else bundle.path}"
    path = folder / _name(bundle.sha256, _digest(setup))
    try:
        found = msgspec.json.decode(read_limited(path), type=Ranking)
    except FileNotFoundError:
        raise EngineError(_missing(bundle, setup, folder), fix=fix) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read: {error}", fix=fix) from None
    if found.setup != setup or any(found.batch not in each.p50_ms for each in found.candidates if each.verdict == "passed"):
        raise EngineError(f"{path} is no ranking of this bundle and machine", fix=fix)
    return found


def store(ranking: Ranking, folder: Path) -> Path:
    """Write it, in a folder for its owner only. Raises EngineError."""
    path = folder / _name(ranking.setup.bundle_sha256, _digest(ranking.setup))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(ranking), indent=2) + b"\n")
    except OSError as error:
        raise EngineError(f"cannot write {path}: {error.strerror}", fix="free some space, or set XDG_CACHE_HOME") from error
    return path


def _preference(candidate: Candidate) -> tuple[bool, int]:
    """INT8 before float, then in the order of PREFERRED."""
    order: Sequence[str] = PREFERRED
    return bool(candidate.options), order.index(candidate.engine) if candidate.engine in order else len(order)


def _missing(bundle: Bundle, setup: Setup, folder: Path) -> str:
    """What to say where no ranking has this setup: how the one that is there differs."""
    for path in sorted(folder.glob(_name(bundle.sha256, "*"))):
        try:
            theirs = msgspec.json.decode(read_limited(path), type=Ranking).setup
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        return f"engines were compared for {bundle.manifest.name} with {_difference(theirs, setup)}"
    return f"engines were not compared for {bundle.manifest.name} here"


def _difference(theirs: Setup, mine: Setup) -> str:
    """`openvino 2026.3.0, this is 2026.4.1; 4 cores, here are 2`."""
    names = sorted({*theirs.engines, *mine.engines})
    pairs = [(name, theirs.engines.get(name, "none"), mine.engines.get(name, "none")) for name in names]
    pairs += [(title, str(getattr(theirs, name)), str(getattr(mine, name))) for name, title in _TITLES.items()]
    return "; ".join(f"{title} {one}, here is {other}" for title, one, other in pairs if one != other)


def _name(bundle_sha256: str, digest: str) -> str:
    return f"engines-{bundle_sha256[:16]}-{digest}.json"


def _digest(setup: Setup) -> str:
    return hashlib.sha256(msgspec.json.encode(setup, order="deterministic")).hexdigest()[:16]
