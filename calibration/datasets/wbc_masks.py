"""300 white blood cells of another microscope: the first dataset of zxaoyou/segmentation_WBC (Zheng et al. 2018).

120x120 px PNG from a Motic camera, blood smears under a reagent for rapid staining, yellow background; each with a hand-drawn
mask, which is not read here, and a type by the authors' own hand that no expert has reviewed. Licence and labels are fit for
evaluation only. Read from `wbc_masks/images/<n>.png` and `wbc_masks/labels.csv`, in a folder, tar or zip.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from calibration import archive
from calibration.adapter import Adapter, Fault
from calibration.archive import Place
from calibration.facts import Facts, KnownClass
from calibration.sample import Sample
from edgecell.bundle import Group
from edgecell.errors import SettingsError

LABELS = "labels.csv"
PLACES = (Place(top="wbc_masks", archives=("wbc_masks*.tar", "wbc_masks*.zip")),)


def _known(name: str, count: int, lineage: str, group: Group = "leukocyte") -> KnownClass:
    return KnownClass(name=name, abbreviation="", folder=name, group=group, lineage=lineage, count=count)


FACTS = Facts(
    title="WBC image dataset 1, rapid stain",
    licence="GPL-3.0",
    citation="Zheng et al. 2018, Micron 107:55, doi 10.1016/j.micron.2018.01.010",
    page="https://github.com/zxaoyou/segmentation_WBC",
    pixel_um=0.18,
    pixel_um_source="assumed: red cells are 7.2 um across",
    classes=(
        _known("neutrophil", 176, "granulocytic"),
        _known("lymphocyte", 53, "lymphoid"),
        _known("monocyte", 48, "monocytic"),
        _known("eosinophil", 22, "granulocytic"),
        _known("basophil", 1, "granulocytic"),
    ),
    evaluation_only=True,
    by_hand="the page has the pictures of dataset 1: put them and labels.csv into wbc_masks/",
)


class WbcMasks(Adapter):
    """Adapter of the rapid-stain cells."""

    facts = FACTS

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<n>.png`. Raises SettingsError when the dataset or its table of labels is not there."""
        labels = _labels(root)
        for path, read in archive.files(root, PLACES):
            name = path.removeprefix("images/")
            if name == path or archive.junk(path):
                continue
            if labels.get(name) in FACTS.names:
                yield Sample(name=name, labels=(labels[name],), content=read(), pixel_um=FACTS.pixel_um)
            else:
                yield Fault(kind="unknown class", name=name, what=f"{LABELS} calls it {labels.get(name)!r}")


def _labels(root: Path) -> dict[str, str]:
    """Name of an image -> label. The table may come after the images in a tar, so it is looked for first."""
    for path, read in archive.files(root, PLACES):
        if path == LABELS:
            return {row["image"]: row["label"] for row in csv.DictReader(read().decode().splitlines())}
    raise SettingsError(f"no {LABELS} beside the images of wbc_masks in {root}", fix="copy the dataset again, all its files")
