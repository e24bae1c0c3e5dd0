"""PBC: 17,092 peripheral blood cells in 8 classes (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0).

360x363 px JPEG from a CellaVision DM96 analyser, May-Gruenwald-Giemsa, about 0.1 um per pixel, one cell in the middle of each.
Read as published (`PBC_dataset_normal_DIB/<class>/<name>.jpg`) or as the copy of the centre 224x224 px (`pbc_*.tar`,
`pbc/<class>/<name>.jpg`). There are no patient ids, so the same patients are on both sides of any split.
"""

from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.sample import Sample

PIXEL_UM = 0.1  # assumed: a red cell of 7.2 um is 70-75 px across in the originals
CLASSES = {
    "basophil": "basophil",
    "eosinophil": "eosinophil",
    "erythroblast": "erythroblast",
    "ig": "immature_granulocyte",
    "lymphocyte": "lymphocyte",
    "monocyte": "monocyte",
    "neutrophil": "neutrophil",
    "platelet": "platelet",
}


class Pbc:
    """Adapter of the PBC dataset."""

    licence = "CC BY 4.0"
    citation = "Acevedo et al. 2020, Data in Brief 30:105474, doi 10.17632/snkd93bnjr.1"

    def read(self, root: Path) -> Iterator[Sample]:
        """Samples named `<class>/<file>`, the same in both layouts. Files in no known class folder are passed over."""
        published = (root / "PBC_dataset_normal_DIB").is_dir()
        top, tars = ("PBC_dataset_normal_DIB", "") if published else ("pbc", "pbc_[a-z].tar")
        for name, content in archive.files(root, top, tars or "PBC_dataset_normal_DIB*.tar"):
            folder, _, _ = name.removeprefix(f"{top}/").partition("/")
            if folder in CLASSES and name.lower().endswith(archive.IMAGE_SUFFIXES):
                yield Sample(name=name.removeprefix(f"{top}/"), labels=(CLASSES[folder],), content=content, pixel_um=PIXEL_UM)
