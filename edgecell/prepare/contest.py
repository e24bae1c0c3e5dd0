"""Compares all engines of this machine on one bundle: who answers as certified, and who is fastest."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from edgecell import __version__, app, clock, plugins
from edgecell.app import Chosen
from edgecell.automatic import installed
from edgecell.bundle import Bundle
from edgecell.engines.trt.plans import profile_of
from edgecell.engines.trt.request import Progress
from edgecell.errors import BundleError, BundleMismatch, EngineError, MissingDependency
from edgecell.golden import replay
from edgecell.prepare.preparing import Tell
from edgecell.prepare.timing import medians_ms
from edgecell.protocols import Engine
from edgecell.ranking import PREFERRED, Candidate, Ranking, setup_of, store
from edgecell.settings import PartSettings

FLOAT = "float"


def compare(bundle: Bundle, folder: Path, tell: Tell) -> Ranking:
    """Try every engine with its own encoding and, where it has a choice, with `float`, and store what came of it in `folder`.

    Those that answer the golden cells as certified are timed in turns. Raises EngineError: the ranking cannot be written.
    """
    name = bundle.manifest.name
    setup, tried = setup_of(bundle, installed(app.engine_classes())), list[Candidate]()
    opened: dict[int, Engine] = {}
    shapes = profile_of(bundle.manifest)
    with ExitStack() as stack:
        for chosen in _entrants(bundle):
            tell(f"{name} on {chosen.name}", Progress(elapsed_s=0, phase="replaying the golden cells"))
            candidate, engine = _tried(bundle, chosen, stack)
            if engine is not None:
                opened[len(tried)] = engine
            tried.append(candidate)
        if opened:
            tell(name, Progress(elapsed_s=0, phase="timing"))
        smallest = (shapes.min[0], *shapes.opt[1:])  # pictures are as large as usual: times are told by their number alone
        figures = medians_ms(list(opened.values()), [smallest, shapes.opt])
    for at, p50_ms in zip(opened, figures, strict=True):
        tried[at] = msgspec.structs.replace(tried[at], p50_ms=p50_ms)
    found = Ranking(
        setup=setup,
        bundle=name,
        batch=shapes.opt[0],
        candidates=tuple(tried),
        edgecell=__version__,
        utc=clock.utc_now(),
    )
    store(found, folder)
    return found


def _entrants(bundle: Bundle) -> Iterator[Chosen]:
    """Every engine as it is without options, then the float model on those that can be told to run it."""
    table = app.TABLES["engine"]
    names = sorted(table, key=lambda name: (PREFERRED.index(name) if name in PREFERRED else len(PREFERRED), name))
    yield from (app.choose("engine", PartSettings(part=name)) for name in names)
    for name in names:
        fields = plugins.load("engine", table, name).Options.__struct_fields__
        if "encoding" in fields and f"{FLOAT}.onnx" in bundle.manifest.files:
            yield app.choose("engine", PartSettings(part=name, options={"encoding": FLOAT}))


def _tried(bundle: Bundle, chosen: Chosen, stack: ExitStack) -> tuple[Candidate, Engine | None]:
    """What came of an engine, and the engine itself, open, if it passed."""
    asked = {"encoding": FLOAT} if getattr(chosen.options, "encoding", None) == FLOAT else {}
    what = Candidate(engine=chosen.name, encoding=FLOAT if asked else "", options=asked, verdict="failed")
    try:
        encoding = chosen.part.encoding_of(bundle, chosen.options)
        what = msgspec.structs.replace(what, encoding=encoding)
        part = chosen.part(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=chosen.options)
        engine: Engine = stack.enter_context(part)
        report = replay(bundle, engine, encoding)
    except BundleMismatch as error:
        return msgspec.structs.replace(what, verdict="refused", why=error.what, fix=error.fix), None
    except (BundleError, EngineError, MissingDependency) as error:
        return msgspec.structs.replace(what, why=error.what, fix=error.fix), None
    passed = msgspec.structs.replace(
        what,
        verdict="passed",
        runs=engine.description,
        deviation=dict(report.deviation),
        tolerance=dict(report.tolerance),
    )
    return passed, engine
