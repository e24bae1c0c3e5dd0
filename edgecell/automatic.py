"""Which engine `auto` takes for a bundle on this machine, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgecell import ranking
from edgecell.bundle import Bundle
from edgecell.engines.trt.plans import folder_of
from edgecell.errors import EngineError, MissingDependency
from edgecell.ranking import Ranking
from edgecell.settings import PartSettings, decode_options

ACCELERATED, EVERYWHERE = "trt", "onnxrt"
"""Engines that are chosen from where none were compared: the one that must be prepared on the device first, and the one that
every machine has."""

Engines = Mapping[str, type[Any]]
"""Name -> class of each engine in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An engine with its options. why: it was taken. fix: how to get another one, "" where there is nothing to do."""

    engine: PartSettings
    why: str
    fix: str = ""


def decide(bundle: Bundle, engines: Engines) -> Decision:
    """The engine that was found fastest here. Where none were compared, or that one cannot run the bundle now: TensorRT if its
    plan is prepared, else ONNX Runtime."""
    folder = folder_of(None)
    chosen = _prepared(bundle, engines)
    if not ranking.exists(bundle, folder):
        return chosen
    try:
        return _ranked(ranking.find(bundle, ranking.setup_of(bundle, installed(engines)), folder), bundle, engines)
    except (EngineError, MissingDependency) as error:
        return chosen if chosen.engine.part == ACCELERATED else replace(chosen, why=error.what, fix=error.fix)


def installed(engines: Engines) -> dict[str, str]:
    """Name -> version of each engine that is installed."""
    versions = {name: part.installed() for name, part in engines.items()}
    return {name: version for name, version in versions.items() if version}


def _ranked(found: Ranking, bundle: Bundle, engines: Engines) -> Decision:
    """The engine that a ranking says. Raises EngineError, MissingDependency: there is none, or it cannot run the bundle now."""
    best = found.winner()
    asked = PartSettings(part=best.engine, options=dict(best.options), where=f"ranking of {found.bundle}")
    part = engines[best.engine]
    part.encoding_of(bundle, decode_options(part, asked))
    many = sum(each.verdict == "passed" for each in found.candidates)
    batch = f"batch of {found.batch}" if found.batch > 1 else "picture"
    return Decision(
        engine=asked, why=f"{best.p50_ms[found.batch]:.1f} ms a {batch} with {best.encoding}, of {many} compared here"
    )


def _prepared(bundle: Bundle, engines: Engines) -> Decision:
    """TensorRT where the bundle's plan is prepared, else ONNX Runtime. No more of the hardware is touched than a probe does,
    and no plan is loaded."""
    fast, everywhere = engines[ACCELERATED], PartSettings(part=EVERYWHERE)
    probe = fast.probe()
    if not probe.usable:
        fix = "edgecell doctor says more" if probe.version else ""
        why = f"{ACCELERATED} cannot be used, {probe.missing.partition(': ')[0]}"
        return Decision(engine=everywhere, why=why, fix=fix)
    try:
        encoding = fast.encoding_of(bundle, fast.Options())
    except (EngineError, MissingDependency) as error:
        return Decision(engine=everywhere, why=error.what, fix=error.fix)
    why = f"its plan, made from {encoding}.onnx, is prepared and verified here"
    return Decision(engine=PartSettings(part=ACCELERATED), why=why)
