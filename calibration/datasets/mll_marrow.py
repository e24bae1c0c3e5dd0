"""MLL bone marrow: 171,375 cells of 945 patients in 21 classes (Matek et al., Blood 2021;138:1917, CC BY 4.0).

250x250 px JPEG, May-Gruenwald-Giemsa / Pappenheim, `<ABBR>/<ABBR>_00001.jpg`, large classes in subfolders. A class
abbreviation that the table below does not translate is passed over: it has no counterpart among the eight peripheral blood
classes.
"""

from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.sample import Sample

PIXEL_UM = 0.1  # assumed: segmented neutrophils are as many pixels across as PBC's
CLASSES = {
    "NGS": "neutrophil",
    "EOS": "eosinophil",
    "LYT": "lymphocyte",
    "MON": "monocyte",
    "PMO": "immature_granulocyte",
}


class MllMarrow:
    """Adapter of the MLL bone marrow dataset, for the classes that it shares with peripheral blood."""

    licence = "CC BY 4.0"
    citation = "Matek et al. 2021, Blood 138:1917, doi 10.1182/blood.2020010568"

    def read(self, root: Path) -> Iterator[Sample]:
        """Samples named `<ABBR>/<file>`, whatever subfolders lie between: the files of a class are numbered through."""
        for path, content in archive.images(root, "mll_marrow", "mll_marrow*.tar"):
            parts = path.split("/")
            if parts[1] in CLASSES:
                name = f"{parts[1]}/{parts[-1]}"
                yield Sample(name=name, labels=(CLASSES[parts[1]],), content=content, pixel_um=PIXEL_UM)
