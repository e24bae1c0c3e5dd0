"""What is published about a dataset, as data: classes with their counts, files with their checksums, licence, scale.

Adapters label their samples with these class names and no others; a recipe says what each of them is to a model.
"""

from dataclasses import dataclass
from typing import Literal

from calibration.copies import ALIKE
from calibration.download import Download
from edgecell.bundle import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClass:
    """One class of a dataset. name: in full, lower case with underscores. folder: how the dataset's files spell it (a folder, a
    number). abbreviation: the dataset's own. count: cells published, None where no figure is. group, lineage: as in a bundle.
    """

    name: str
    abbreviation: str
    folder: str
    group: Group
    lineage: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A dataset as published.

    page: where a person gets it. files: to download over plain HTTPS, empty where the page has them in other ways. by_hand:
    what a person has to do, and into which folder of the datasets it goes; "" where `files` is all. pixel_um: micrometres per
    pixel, None where nobody says: a recipe then has to. pixel_um_source: where that number is from; it begins with
    "assumed" where it was not published. grouped_by: what cells share that must not be on both sides of a split. own_split: it
    says itself which cells train and which are tested. alike: correlation from which two of its images are copies (see
    `calibration.copies`). open_classes: it may hold other classes than those that are known. evaluation_only: its licence or
    its labels are not fit for training, so no recipe may read it.
    """

    title: str
    licence: str
    citation: str
    page: str
    classes: tuple[KnownClass, ...]
    files: tuple[Download, ...] = ()
    by_hand: str = ""
    pixel_um: float | None = None
    pixel_um_source: str = ""
    grouped_by: Literal["image", "field", "slide", "patient"] = "image"
    own_split: bool = False
    alike: float = ALIKE
    open_classes: bool = False
    evaluation_only: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.classes)

    def by_folder(self) -> dict[str, KnownClass]:
        """As the files spell it -> class."""
        return {each.folder: each for each in self.classes}
