"""BALF: 2,105 fields of bronchoalveolar lavage fluid with 13,263 cells of 7 classes (Scientific Data 2025).

`Images/` holds them at 853x640 px, `High Resolution Images/` 1,903 of the originals at 4912x3684; `Labels/` serves both, one
object a line, a polygon or a box (see `calibration.yolo`). Folders may be capitalised in any way and have `train/` and `val/`
below. They are published as .rar, which has to be unpacked. Some cells were deliberately left without a label. There are no
patient ids, and no scale is published.

The numbers of the classes are those of the authors' own code (`code/class.txt` of their repository). Another public reader
takes the order of the article instead, so look at a few labels before you believe either: erythrocytes are the smallest.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import addresses, yolo
from calibration.adapter import Adapter, Fault
from calibration.archive import junk
from calibration.facts import Facts, KnownClass
from calibration.fields import SPLITS, Field
from calibration.sample import Sample
from calibration.tree import Tree, opened
from edgecell.errors import FrameCorrupt, SettingsError
from edgecell.imagefile import decoded

GRID_PX = 853  # width of the smaller images; windows are cut at their scale
WINDOW_PX = 128
LABELS, DRAWN = "labels", "visualization images"
FACTS = Facts(
    title="BALF, cells of bronchoalveolar lavage fluid",
    licence="as the download page says",
    citation="Clinical dataset of bronchoalveolar lavage fluid cells, Scientific Data 2025, doi 10.1038/s41597-025-05452-4",
    page="https://doi.org/10.5281/zenodo.14871206",
    files=addresses.BALF,
    by_hand="unpack Images.rar and Labels.rar (`unar`, `7z x`) where they are, in balf/",
    grouped_by="field",
    classes=(
        KnownClass(name="ciliated_columnar_epithelial", abbreviation="CEC", folder="0", group="epithelial"),
        KnownClass(name="erythrocyte", abbreviation="RBC", folder="1", group="red_cell", lineage="erythroid"),
        KnownClass(name="squamous_epithelial", abbreviation="SEC", folder="2", group="epithelial"),
        KnownClass(name="eosinophil", abbreviation="EC", folder="3", group="leukocyte", lineage="granulocytic"),
        KnownClass(name="neutrophil", abbreviation="NC", folder="4", group="leukocyte", lineage="granulocytic"),
        KnownClass(name="lymphocyte", abbreviation="LC", folder="5", group="leukocyte", lineage="lymphoid"),
        KnownClass(name="macrophage", abbreviation="MC", folder="6", group="leukocyte", lineage="monocytic"),
    ),
)
CLASSES = yolo.Classes(kinds=FACTS.names, of={int(each.folder): each.name for each in FACTS.classes})


class Balf(Adapter):
    """Adapter of the BALF dataset: its fields at 853x640 px, and single cells cut from them."""

    facts = FACTS
    folder = "images"

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Windows around the labelled cells, named `<field>/<class><number>`, at the scale of the smaller images."""
        for each in self.scan_fields(root):
            if isinstance(each, Fault):
                yield each
            else:
                yield from _windows(each)

    def whole(self, root: Path) -> Iterator[Sample]:
        """The fields themselves."""
        with opened(_place(root)) as tree:
            for name, path in sorted(_named(tree, self.folder).items()):
                yield Sample(name=name, labels=(), content=tree.read(path), pixel_um=None)

    def fields(self, root: Path) -> Iterator[Field]:
        """Whole fields with their labelled cells, boxes or polygons. kinds: index into FACTS.names."""
        return (each for each in self.scan_fields(root) if isinstance(each, Field))

    def scan_fields(self, root: Path) -> Iterator[Field | Fault]:
        """In the order of their names, one in memory at a time. Raises SettingsError when the dataset is not there."""
        with opened(_place(root)) as tree:
            images, labels = _named(tree, self.folder), _named(tree, LABELS)
            if not images or not labels:
                fix = "unpack the dataset's .rar files there: Images/ and Labels/ side by side"
                raise SettingsError(f"no {self.folder}/ with labels/ in {_place(root)}", fix=fix)
            yield from self._strays(tree, images, labels)
            for name in sorted(images.keys() & labels.keys()):
                yield from _field(tree, name, images[name], labels[name])

    def _strays(self, tree: Tree, images: dict[str, str], labels: dict[str, str]) -> Iterator[Fault]:
        for name in sorted(images.keys() - labels.keys()):
            yield Fault(kind="no labels", name=images[name], what="has no file of labels, not even an empty one")
        if self.folder == Balf.folder:  # of the originals 202 are not published
            for name in sorted(labels.keys() - images.keys()):
                yield Fault(kind="no image", name=labels[name], what="are labels without an image")
        used = {*images.values(), *labels.values()}
        for path in tree.names:
            if _top(path) in {self.folder, LABELS} and path not in used:
                if _stem(path) in (images if _top(path) == self.folder else labels):
                    yield Fault(kind="name twice", name=path, what="has the name of another field")
                else:
                    yield Fault(kind="junk", name=path, what=junk(path) or "no text file of labels by its name")


class BalfOriginals(Balf):
    """The same from the fields at 4912x3684 px."""

    folder = "high resolution images"


def _place(root: Path) -> Path:
    found = [root / "balf", *sorted(root.glob("balf*.zip")), *sorted(root.glob("balf*.tar*"))]
    return next((path for path in found if path.exists()), found[0])


def _named(tree: Tree, top: str) -> dict[str, str]:
    """Field -> path of the files in folder `top`. The first one counts where a name comes twice."""
    found: dict[str, str] = {}
    for path in tree.names:
        wanted = path.lower().endswith(".txt") and not path.endswith("classes.txt") if top == LABELS else not junk(path)
        if _top(path) == top and wanted:
            found.setdefault(_stem(path), path)
    return found


def _top(path: str) -> str:
    """The nearest folder that is not one of a split, in lower case."""
    folders = [part.lower() for part in path.split("/")[:-1] if part.lower() not in SPLITS]
    return folders[-1] if folders else ""


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _field(tree: Tree, name: str, image_path: str, label_path: str) -> Iterator[Field | Fault]:
    try:
        image = decoded(tree.read(image_path), image_path)
    except (FrameCorrupt, SettingsError) as error:
        yield Fault(kind="unreadable", name=image_path, what=str(error))
        return
    size = image.shape[1], image.shape[0]
    objects: list[yolo.Object] = []
    for number, line in enumerate(tree.read(label_path).decode("utf-8", "replace").splitlines()):
        found = _parsed("\n" * number + line, label_path, size)
        if isinstance(found, Fault):
            yield found
        else:
            objects += found
    yield Field(
        name=name,
        split="",
        image=image,
        boxes=np.array([each.box for each in objects], np.float64).reshape(-1, 4),
        kinds=np.array([each.kind for each in objects], np.int64),
        outlines=tuple(each.outline for each in objects),
    )


def _parsed(text: str, path: str, size: tuple[int, int]) -> list[yolo.Object] | Fault:
    try:
        return list(yolo.parse(text, path, size, CLASSES))
    except SettingsError as error:
        return Fault(kind="label out of range", name=path, what=str(error))


def _windows(field: Field) -> Iterator[Sample]:
    zoom = GRID_PX / field.image.shape[1]
    for number, (kind, box) in enumerate(zip(field.kinds.tolist(), field.boxes, strict=True)):
        window, centre = _window(field.image, (box[:2] + box[2:]) / 2, zoom)
        label = FACTS.names[kind]
        yield Sample(name=f"{field.name}/{label}{number}", labels=(label,), content=window, pixel_um=None, centre_px=centre)


def _window(
    image: NDArray[np.uint8], centre: NDArray[np.float64], zoom: float
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """WINDOW_PX around a centre, less where the field ends, and where the centre is in it. zoom: from the field to the grid."""
    half = WINDOW_PX / 2 / zoom
    low = np.clip(np.floor(centre - half), 0, None).astype(int)
    part = image[low[1] : int(np.ceil(centre[1] + half)), low[0] : int(np.ceil(centre[0] + half))]
    wide, high = (max(1, round(side * zoom)) for side in (part.shape[1], part.shape[0]))
    if zoom != 1:
        part = cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    x, y = ((centre - low) * zoom).tolist()
    return np.ascontiguousarray(part), (x, y)
