"""Runs both engines, one after the other: a small device may not have the memory for both."""

from pathlib import Path

from edgecell import app
from edgecell.bundle import Bundle
from edgecell.settings import PartSettings
from edgecell.verify import cells, fields
from edgecell.verify.pictures import golden_of, read_folder
from edgecell.verify.result import Side, Verification

_ROLE = "verified"
_HOW = {"classify": cells, "segment": fields}


def verify(bundle: Bundle, a: PartSettings, b: PartSettings, data: Path | None, pixel_um: float | None) -> Verification:
    """Compare engines `a` and `b`. data: a folder of cells, or of fields for a segmenter. pixel_um: of its images.

    Raises SettingsError, BundleError, SourceUnavailable for a folder without an image that can be read; EngineError and
    MissingDependency from the engines.
    """
    golden, how = golden_of(bundle), _HOW[bundle.manifest.task]
    own = None if data is None else read_folder(bundle, data, pixel_um)
    chosen = [app.engines_for(each, {_ROLE: bundle})[_ROLE] for each in (a, b)]
    sides, on_golden, on_own = [], [], []
    for part in chosen:
        encoding = part.part.encoding_of(bundle, part.options)
        with part.part(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=part.options) as engine:
            sides.append(Side(encoding=encoding, engine=engine.description))
            on_golden.append(how.answers(bundle, engine, golden))
            on_own.append(None if own is None else how.answers(bundle, engine, own))
    return Verification(
        bundle=bundle.manifest.name,
        version=bundle.manifest.version,
        sha256=bundle.sha256,
        a=sides[0],
        b=sides[1],
        golden=how.compare(bundle, golden, *on_golden),
        data=None if own is None else how.compare(bundle, own, *on_own),
    )
