"""What every dataset adapter does: say what is known of the dataset, and hand out its cells one by one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calibration.archive import Read, junk
from calibration.facts import Facts
from calibration.sample import Sample
from edgecell.errors import SettingsError

Kind = Literal[
    "junk",
    "unknown class",
    "label out of range",
    "no labels",
    "no image",
    "unreadable",
    "identical",
    "identical in two classes",
    "near-copy",
    "name twice",
    "count",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something in a dataset that is not as it should be. name: of the file, sample or class. what: for a reader."""

    kind: Kind
    name: str
    what: str


class Adapter(ABC):
    """Reads one dataset as it is published, or as it lies in the copies that are in use."""

    facts: Facts

    @abstractmethod
    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """All that lies below `root`, in a fixed order: labelled cells, and what is no cell or cannot be read.

        Labels are class names of `facts`. Raises SettingsError when the dataset is not there.
        """

    def read(self, root: Path) -> Iterator[Sample]:
        """The labelled cells alone. Raises SettingsError when the dataset is not there."""
        return (each for each in self.scan(root) if isinstance(each, Sample))

    def whole(self, root: Path) -> Iterator[Sample]:
        """What a split deals out: the cells, or the fields that they are cut from, which then have no labels."""
        return self.read(root)


def in_folders(
    files: Iterable[tuple[str, Read]], placed: Callable[[str], tuple[str, str] | None], facts: Facts
) -> Iterator[Sample | Fault]:
    """Single-cell images in folders named for their classes. placed: path -> (sample's name, class), None for no class."""
    for path, read in files:
        if why := junk(path):
            yield Fault(kind="junk", name=path, what=why)
        elif (found := placed(path)) is None:
            yield Fault(kind="unknown class", name=path, what="lies in no folder of a class of the dataset")
        else:
            try:
                content = read()
            except (SettingsError, OSError) as error:
                yield Fault(kind="unreadable", name=path, what=str(error))
                continue
            name, label = found
            yield Sample(name=name, labels=(label,), content=content, pixel_um=facts.pixel_um)
