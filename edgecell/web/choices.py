"""The settings that a run may be begun with, and what is known of each without opening anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell import settings
from edgecell.errors import EdgecellError, SettingsError
from edgecell.routing import open_bundles

PHANTOM = "phantom"
"""Name of the slide that needs no settings."""


def named(files: tuple[Path, ...]) -> dict[str, Path | None]:
    """Name -> file; without any the phantom slide. Raises SettingsError for two of one name."""
    found: dict[str, Path | None] = {}
    for file in files:
        if file.stem in found:
            raise SettingsError(f"two settings files are called {file.stem}", fix="rename one of them")
        found[file.stem] = file.resolve()
    return found or {PHANTOM: None}


def choices(files: Mapping[str, Path | None]) -> list[dict[str, Any]]:
    """As the page shows them, with the classes that a stop rule can be about. One that is wrong is among them, and says why."""
    return [_told(name, file) for name, file in files.items()]


def _told(name: str, file: Path | None) -> dict[str, Any]:
    known = {"name": name, "path": str(file or "")}
    try:
        chosen = settings.Settings() if file is None else settings.load(file)
        bundles = open_bundles(chosen.models, chosen.trust)
    except EdgecellError as error:
        return {**known, "specimen": "", "device_id": "", "classes": [], "error": error.what, "fix": error.fix}
    specimen = next((bundle.manifest.specimen for bundle in bundles.values()), "")
    classes = [each.name for bundle in bundles.values() for each in bundle.manifest.classes if each.in_differential]
    return {**known, "specimen": specimen, "device_id": chosen.device_id, "classes": classes, "error": "", "fix": ""}
