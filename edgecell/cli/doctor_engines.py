"""The chapter `engines` of `edgecell doctor`: which engine `auto` takes for each shipped bundle, and what that was told by."""

from collections.abc import Iterator

from edgecell import app, plugins, ranking
from edgecell.automatic import ACCELERATED
from edgecell.bundle import Bundle, open_bundle, shipped
from edgecell.cli.entry import Entry
from edgecell.engines.trt.plans import folder_of
from edgecell.errors import EdgecellError, EngineError
from edgecell.ranking import Ranking
from edgecell.signature import ANY


def entries(trt: str) -> Iterator[Entry]:
    """trt: the version of what runs TensorRT's plans, "" where nothing does; it was asked in a process of its own."""
    table = app.TABLES["engine"]
    versions = {name: plugins.load("engine", table, name).installed() for name in table if name != ACCELERATED}
    engines = {name: version for name, version in {**versions, ACCELERATED: trt}.items() if version}
    for name in shipped():
        try:
            bundle = open_bundle(name, ANY)
        except EdgecellError:
            continue  # told in the chapter on bundles
        yield _entry(bundle, engines)


def _entry(bundle: Bundle, engines: dict[str, str]) -> Entry:
    subject = f"engines of {bundle.manifest.name}"
    try:
        found = ranking.find(bundle, ranking.setup_of(bundle, engines), folder_of(None))
    except EngineError as error:
        return Entry(subject=subject, lacks=f"{error.what}: {error.fix}")
    if found.used is None:
        return Entry(subject=subject, lacks="none answers as certified: copy the bundle again, and prepare it again")
    return Entry(subject=subject, has=_figures(found))


def _figures(found: Ranking) -> str:
    """`openvino u8s8 11.6 ms (used by auto); onnxrt u8s8 13.0 ms; trt refused`, the time of one usual batch."""
    told = [
        f"{each.engine} {each.encoding} {each.p50_ms[found.batch]:.1f} ms{' (used by auto)' if each == found.used else ''}"
        for each in sorted(found.candidates, key=lambda each: each.p50_ms.get(found.batch, float("inf")))
        if each.verdict == "passed"
    ]
    return "; ".join([*told, *(f"{each.engine} refused" for each in found.candidates if each.verdict == "refused")])
