"""BMC-FGCD: about 92,000 bone marrow cells in 40 classes from one hospital (Chen et al. 2024, the SCKansformer paper).

Folders named for their classes, at the top or below `train/` and `test/`; some of the 40 are empty. The list of names that the
authors publish is a picture, and spellings of it differ, so the class folders are taken as they are found: a class is its
folder's name in lower case with underscores, without a number in front (`06_Band form` is `band_form`, a folder that is a
number, `7`, is `class_7`). The classes below are those that a public reader of the dataset lists for the folders that hold
cells; others are taken all the same. There are no patient ids.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.adapter import Adapter, Fault, in_folders
from calibration.archive import Place
from calibration.facts import Facts, KnownClass
from calibration.sample import Sample
from edgecell.bundle import Group

PLACES = (Place(top="bmc_fgcd"), Place(top="", archives=("bmc_fgcd*.zip", "bmc_fgcd*.tar*")))
PARTS = frozenset({"train", "val", "test"})


def _known(folder: str, group: Group, lineage: str = "") -> KnownClass:
    return KnownClass(name=class_of(folder), abbreviation="", folder=folder, group=group, lineage=lineage)


def class_of(folder: str) -> str:
    """The class that a folder holds."""
    words = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    name = re.sub(r"^\d+_", "", words)
    return f"class_{name}" if name[:1].isdigit() or not name else name


FACTS = Facts(
    title="BMC-FGCD, bone marrow cells for fine-grained classification",
    licence="none given: ask the authors",
    citation="Chen et al. 2024, SCKansformer, IEEE J Biomed Health Inform, doi 10.1109/JBHI.2024.3471928",
    page="https://github.com/JustlfC03/SCKansformer",
    by_hand="the page links to a file on a drive; put its folders of classes, or train/ and test/ with them, into bmc_fgcd/",
    classes=(
        _known("Haemocytoblast", "leukocyte"),
        _known("Myeloblast", "leukocyte", "granulocytic"),
        _known("Promyelocyte", "leukocyte", "granulocytic"),
        _known("Neutrophilic myelocyte", "leukocyte", "granulocytic"),
        _known("Neutrophilic metamyelocyte", "leukocyte", "granulocytic"),
        _known("Neutrophilic granulocyte band form", "leukocyte", "granulocytic"),
        _known("Neutrophilic granulocyte segmented form", "leukocyte", "granulocytic"),
        _known("Acidophil in young", "leukocyte", "granulocytic"),
        _known("Acidophil late young", "leukocyte", "granulocytic"),
        _known("Acidophillic rod-shaped nucleus", "leukocyte", "granulocytic"),
        _known("Eosinophillic phloem granulocyte", "leukocyte", "granulocytic"),
        _known("Basophillic in young", "leukocyte", "granulocytic"),
        _known("Basophillic late young", "leukocyte", "granulocytic"),
        _known("Basophillic rod-shaped nucleus", "leukocyte", "granulocytic"),
        _known("Basophllic lobule nucleus", "leukocyte", "granulocytic"),
        _known("Pronormoblast", "erythroid", "erythroid"),
        _known("Prorubricyte", "erythroid", "erythroid"),
        _known("Polychromatic erythroblast", "erythroid", "erythroid"),
        _known("Metarubricyte", "erythroid", "erythroid"),
        _known("Prolymphocyte", "leukocyte", "lymphoid"),
        _known("Mature lymphocyte", "leukocyte", "lymphoid"),
        _known("Hetertypic lymphocyte", "leukocyte", "lymphoid"),
        _known("Primitive monocyte", "leukocyte", "monocytic"),
        _known("Promonocyte", "leukocyte", "monocytic"),
        _known("Mature monocyte", "leukocyte", "monocytic"),
        _known("Plasmablast", "leukocyte", "lymphoid"),
        _known("infantile plasmocyte", "leukocyte", "lymphoid"),
        _known("Matrue plasmocyte", "leukocyte", "lymphoid"),
        _known("Bistiocyte", "other"),
        _known("Juvenile cell", "leukocyte"),
        _known("Granulocyte megakaryocyte", "megakaryocytic", "megakaryocytic"),
        _known("Naked megakaryocyte", "megakaryocytic", "megakaryocytic"),
    ),
    open_classes=True,
)


class BmcFgcd(Adapter):
    """Adapter of the BMC-FGCD dataset."""

    facts = FACTS

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named by their path, from `train/` or `test/` on where there are such folders. The nearest folder is the
        class."""
        return in_folders(archive.files(root, PLACES), _placed, FACTS)


def _placed(path: str) -> tuple[str, str] | None:
    *above, folder, file = ["", *path.split("/")]
    if not folder or folder in PARTS:
        return None
    part = next((each for each in above if each in PARTS), "")
    name = "/".join(filter(None, (part, folder, file)))
    return name, class_of(folder)
