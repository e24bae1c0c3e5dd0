"""PBC: 17,092 peripheral blood cells in 8 classes (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0).

360x363 px JPEG from a CellaVision DM96 analyser, May-Gruenwald-Giemsa, about 0.1 um per pixel, one cell in the middle of each.
Read as published (`PBC_dataset_normal_DIB/<class>/<name>.jpg`) or as the copy of the centre 224x224 px (`pbc_*.tar`,
`pbc/<class>/<name>.jpg`). There are no patient ids, so the same patients are on both sides of any split.
"""

from collections.abc import Iterator
from pathlib import Path

from calibration import addresses, archive
from calibration.adapter import Adapter, Fault, in_folders
from calibration.archive import Place
from calibration.facts import Facts, KnownClass
from calibration.sample import Sample
from edgecell.bundle import Group

PUBLISHED = "PBC_dataset_normal_DIB"
PLACES = (
    Place(top=PUBLISHED, archives=(f"{PUBLISHED}*.zip", f"{PUBLISHED}*.tar*")),
    Place(top="pbc", archives=("pbc_[a-z].tar",)),
    Place(top=PUBLISHED, archives=("pbc_original*.tar",)),
)


def _known(name: str, abbreviation: str, count: int, group: Group, lineage: str, folder: str = "") -> KnownClass:
    return KnownClass(name=name, abbreviation=abbreviation, folder=folder or name, group=group, lineage=lineage, count=count)


FACTS = Facts(
    title="PBC, normal peripheral blood cells",
    licence="CC BY 4.0",
    citation="Acevedo et al. 2020, Data in Brief 30:105474, doi 10.17632/snkd93bnjr.1",
    page="https://doi.org/10.17632/snkd93bnjr.1",
    files=addresses.PBC,
    pixel_um=0.1,
    pixel_um_source="assumed: a red cell of 7.2 um is 70-75 px across in the originals",
    classes=(
        _known("basophil", "BA", 1_218, "leukocyte", "granulocytic"),
        _known("eosinophil", "EO", 3_117, "leukocyte", "granulocytic"),
        _known("erythroblast", "ERB", 1_551, "erythroid", "erythroid"),
        _known("immature_granulocyte", "IG", 2_895, "leukocyte", "granulocytic", folder="ig"),
        _known("lymphocyte", "LY", 1_214, "leukocyte", "lymphoid"),
        _known("monocyte", "MO", 1_420, "leukocyte", "monocytic"),
        _known("neutrophil", "NE", 3_329, "leukocyte", "granulocytic"),
        _known("platelet", "PLATELET", 2_348, "platelet", "megakaryocytic"),
    ),
)
_BY_FOLDER = FACTS.by_folder()


class Pbc(Adapter):
    """Adapter of the PBC dataset."""

    facts = FACTS

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<class>/<file>`, the same in both layouts."""
        return in_folders(archive.files(root, PLACES), _placed, FACTS)


def _placed(path: str) -> tuple[str, str] | None:
    known = _BY_FOLDER.get(path.split("/")[0])
    return (path, known.name) if known else None
