"""Which bundles a run holds: those that the settings route kinds of cell to, and the segmenter's."""

from collections.abc import Mapping
from pathlib import Path

from edgecell.bundle import Bundle, open_bundle
from edgecell.errors import SettingsError
from edgecell.messages import Kind
from edgecell.settings import Settings, bundle_folder
from edgecell.signature import Trust


def open_bundles(models: Mapping[Kind, str], trust: Trust) -> dict[Kind, Bundle]:
    """Kind of cell -> verified bundle. Raises BundleError; SettingsError for bundles of two specimens, or for a segmenter's."""
    bundles = {kind: open_bundle(name, trust) for kind, name in models.items()}
    for kind, bundle in bundles.items():
        if bundle.manifest.task != "classify":
            raise SettingsError(
                f"[models] {kind}: bundle {bundle.manifest.name} classifies nothing", fix="name it in [segmenter]"
            )
    _check_specimens(bundles)
    return bundles


def _check_specimens(bundles: Mapping[str, Bundle]) -> None:
    specimens = {bundle.manifest.specimen: kind for kind, bundle in bundles.items()}
    if len(specimens) > 1:
        named = ", ".join(f"{kind}: {specimen}" for specimen, kind in specimens.items())
        raise SettingsError(f"[models] mixes specimens ({named})", fix="use bundles of one specimen in one run")


def segmenter_bundle(options: object, settings: Settings, classifiers: Mapping[Kind, Bundle]) -> Bundle | None:
    """The bundle that a segmenter's options name as `model`, if they do. Raises BundleError, SettingsError."""
    name = getattr(options, "model", None)
    if name is None:
        return None
    bundle = open_bundle(bundle_folder(name, Path(settings.segmenter.base)), settings.trust)
    if bundle.manifest.task != "segment":
        raise SettingsError(
            f"{settings.segmenter.where}: bundle {name} is no segmenter's", fix='give a bundle of task "segment"'
        )
    _check_specimens({"segmenter": bundle, **classifiers})
    return bundle
