"""Any segmenter of edgecell's table, opened as a run opens it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from edgecell import app, settings
from edgecell.protocols import Segmenter


def factory(name: str | None, file: Path | None) -> tuple[str, Callable[[], AbstractContextManager[Segmenter]]]:
    """The segmenter's name, and what opens a fresh one: by name, or with the options of a settings file; the default without
    either. Raises SettingsError, BundleError."""
    chosen = settings.Settings() if file is None else settings.load(file)
    if name is not None and name != chosen.segmenter.part:
        part = settings.PartSettings(part=name, where=f"--segmenter {name}")
        chosen = msgspec.structs.replace(chosen, segmenter=part)
    plan = app.plan(msgspec.structs.replace(chosen, models={}))  # no cell is classified

    @contextmanager
    def make() -> Iterator[Segmenter]:
        with plan.recogniser() as recogniser:
            yield recogniser.segmenter

    return plan.segmenter.name, make
