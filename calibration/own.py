"""What a laboratory says of its own labelled cells, in a recipe: the `options` of a `[[data]]` that reads them.

Nothing is guessed: every class that is there is either named or ignored by name, and the scale is given.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from calibration.facts import Facts, KnownClass
from edgecell.errors import SettingsError


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """folder: below the folder of the datasets. pixel_um: micrometres per pixel. classes: as the folder spells them; a recipe's
    `[data.classes]` says what they are to the model, and without it they are classes of the recipe. ignore: classes that are
    there and are not wanted.

    licence: who may use the cells, in words. source: who labelled them, and on what; both stand in the bundle.
    slide: a regular expression that finds the slide or patient in the name of a file (its first group, or all of it), where
    the names tell: cells of one slide are then kept on one side of a split, and their stain is evened out together.
    """

    folder: str
    pixel_um: Annotated[float, msgspec.Meta(gt=0)]
    classes: tuple[str, ...]
    licence: str
    source: str
    ignore: tuple[str, ...] = ()
    slide: str = ""

    def facts(self, each: str) -> Facts:
        """As of a published dataset. each: what an image shows ("image" of one cell, or "field")."""
        return Facts(
            title=f"own cells in {self.folder}",
            licence=self.licence,
            citation=self.source,
            page="",
            classes=tuple(KnownClass(name=name, abbreviation="", folder=name, group="other") for name in self.classes),
            pixel_um=self.pixel_um,
            pixel_um_source="given by the laboratory",
            grouped_by="slide" if self.slide else ("field" if each == "field" else "image"),
        )

    def path(self, root: Path) -> Path:
        """The folder. Raises SettingsError where it is not there."""
        path = root / self.folder
        if not path.is_dir():
            raise SettingsError(f"no folder {path}", fix="point --data at the folder above it, or correct data.options.folder")
        return path

    def check(self, there: Iterable[str], where: Path) -> None:
        """Raises SettingsError where the classes that are there are not those named and ignored."""
        found = set(there)
        if unknown := sorted(found - {*self.classes, *self.ignore}):
            fix = "name it in data.options.classes, or in data.options.ignore to pass it over"
            raise SettingsError(f"{where} has the class {unknown[0]!r}, which the recipe does not know", fix=fix)
        if missing := sorted({*self.classes} - found):
            fix = f"correct data.options.classes; there are: {', '.join(sorted(found)) or 'none'}"
            raise SettingsError(f"{where} has no class {missing[0]!r}", fix=fix)

    def slide_of(self, name: str) -> str:
        """The slide that a file's name tells; "" where names tell none. Raises SettingsError where this one does not."""
        if not self.slide:
            return ""
        found = re.search(self.slide, name)
        if found is None:
            raise SettingsError(f"{name} does not say its slide", fix=f"correct data.options.slide, now {self.slide!r}")
        return found[1] if found.re.groups else found[0]
