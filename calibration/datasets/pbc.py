"""PBC: 17,092 peripheral blood cells in 8 classes (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0).

360x363 px JPEG from a CellaVision DM96 analyser, May-Gruenwald-Giemsa, about 0.1 um per pixel, one cell in the middle of each.
Read as published (`PBC_dataset_normal_DIB/<class>/<name>.jpg`) or as the copy of the centre 224x224 px (`pbc_*.tar`,
`pbc/<class>/<name>.jpg`). There are no patient ids, so the same patients are on both sides of any split.
"""

from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.sample import Sample

PUBLISHED, COPY, COPY_TARS = "PBC_dataset_normal_DIB", "pbc", "pbc_[a-z].tar"
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
        copied = (root / COPY).is_dir() or any(root.glob(COPY_TARS))
        top = COPY if copied and not (root / PUBLISHED).is_dir() else PUBLISHED
        for path, content in archive.images(root, top, COPY_TARS):
            name = path.removeprefix(f"{top}/")
            folder = name.split("/")[0]
            if folder in CLASSES:
                yield Sample(name=name, labels=(CLASSES[folder],), content=content, pixel_um=PIXEL_UM)
