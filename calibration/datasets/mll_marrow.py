"""MLL bone marrow: 171,375 cells of 945 patients in 21 classes (Matek et al., Blood 2021;138:1917, CC BY 4.0).

250x250 px JPEG, May-Gruenwald-Giemsa / Pappenheim, `<ABBR>/<ABBR>_00001.jpg`, the large classes in subfolders `0001-1000/`. The
names of the files carry no patient, so the same patients are on both sides of any split.
"""

from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.adapter import Adapter, Fault, in_folders
from calibration.archive import Place
from calibration.facts import Facts, KnownClass
from calibration.sample import Sample
from edgecell.bundle import Group

PLACES = (Place(top="mll_marrow", archives=("mll_marrow*.tar*", "mll_marrow*.zip")),)


def _known(abbreviation: str, name: str, count: int, group: Group, lineage: str = "") -> KnownClass:
    return KnownClass(name=name, abbreviation=abbreviation, folder=abbreviation, group=group, lineage=lineage, count=count)


FACTS = Facts(
    title="MLL bone marrow cytomorphology",
    licence="CC BY 4.0",
    citation="Matek et al. 2021, Blood 138:1917, doi 10.1182/blood.2020010568",
    page="https://doi.org/10.7937/TCIA.AXH3-T579",
    by_hand="the page hands it out through IBM Aspera Connect alone; put the folders of the classes into mll_marrow/",
    pixel_um=0.1,
    pixel_um_source="assumed: segmented neutrophils are as many pixels across as those of PBC",
    classes=(
        _known("ABE", "abnormal_eosinophil", 8, "leukocyte", "granulocytic"),
        _known("ART", "artefact", 19_630, "reject"),
        _known("BAS", "basophil", 441, "leukocyte", "granulocytic"),
        _known("BLA", "blast", 11_973, "leukocyte"),  # myeloid and lymphoid ones alike: no lineage
        _known("EBO", "erythroblast", 27_395, "erythroid", "erythroid"),
        _known("EOS", "eosinophil", 5_883, "leukocyte", "granulocytic"),
        _known("FGC", "faggot_cell", 47, "leukocyte", "granulocytic"),
        _known("HAC", "hairy_cell", 409, "leukocyte", "lymphoid"),
        _known("KSC", "smudge_cell", 42, "other"),
        _known("LYI", "immature_lymphocyte", 65, "leukocyte", "lymphoid"),
        _known("LYT", "lymphocyte", 26_242, "leukocyte", "lymphoid"),
        _known("MMZ", "metamyelocyte", 3_055, "leukocyte", "granulocytic"),
        _known("MON", "monocyte", 4_040, "leukocyte", "monocytic"),
        _known("MYB", "myelocyte", 6_557, "leukocyte", "granulocytic"),
        _known("NGB", "band_neutrophil", 9_968, "leukocyte", "granulocytic"),
        _known("NGS", "segmented_neutrophil", 29_424, "leukocyte", "granulocytic"),
        _known("NIF", "not_identifiable", 3_538, "reject"),
        _known("OTH", "other_cell", 294, "other"),
        _known("PEB", "proerythroblast", 2_740, "erythroid", "erythroid"),
        _known("PLM", "plasma_cell", 7_629, "leukocyte", "lymphoid"),
        _known("PMO", "promyelocyte", 11_994, "leukocyte", "granulocytic"),
    ),
)
_BY_FOLDER = FACTS.by_folder()


class MllMarrow(Adapter):
    """Adapter of the MLL bone marrow dataset."""

    facts = FACTS

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<ABBR>/<file>`, whatever subfolders lie between: the files of a class are numbered through."""
        return in_folders(archive.files(root, PLACES), _placed, FACTS)


def _placed(path: str) -> tuple[str, str] | None:
    folders = path.split("/")
    known = _BY_FOLDER.get(folders[0])
    return (f"{folders[0]}/{folders[-1]}", known.name) if known else None
