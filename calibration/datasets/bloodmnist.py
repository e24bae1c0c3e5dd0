"""BloodMNIST of MedMNIST v2: the 17,092 cells of PBC, 200x200 px around their middle, resized (Yang et al. 2023, CC BY 4.0).

`bloodmnist.npz` holds 28x28 px images, `bloodmnist_64.npz`, `_128` and `_224` larger ones; each is a dataset of its own here.
Keys `{train,val,test}_{images,labels}`, images uint8 (N, S, S, 3), labels uint8 (N, 1). The split is the dataset's own, by
image; PBC has identical images, so it is not free of copies.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from calibration import addresses, npz
from calibration.adapter import Adapter, Fault
from calibration.datasets import pbc
from calibration.facts import Facts
from calibration.sample import Sample
from edgecell.errors import SettingsError

PARTS = ("train", "val", "test")
SIDE_PX = 200  # of the square that was cut out of a PBC image before it was resized
_NUMBERS = {name: str(number) for number, name in enumerate(pbc.FACTS.names)}


def facts_of(side: int) -> Facts:
    """Of the images with that side in px."""
    pixel_um = (pbc.FACTS.pixel_um or 0.0) * SIDE_PX / side
    return Facts(
        title=f"BloodMNIST, {side} px",
        licence="CC BY 4.0",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41, doi 10.1038/s41597-022-01721-8; derived from PBC",
        page="https://doi.org/10.5281/zenodo.10519652",
        files=(addresses.BLOODMNIST[side],),
        pixel_um=pixel_um,
        pixel_um_source=f"assumed: {SIDE_PX} px of PBC are {SIDE_PX * (pbc.FACTS.pixel_um or 0.0):g} um",
        classes=tuple(replace(each, folder=_NUMBERS[each.name]) for each in pbc.FACTS.classes),
        own_split=True,
    )


class BloodMnist(Adapter):
    """Adapter of BloodMNIST, 28 px."""

    side = 28
    facts = facts_of(28)

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<part>/<number>`, in the order of the file."""
        path = self._file(root)
        for part in PARTS:
            images, labels = npz.shape(path, f"{part}_images"), npz.shape(path, f"{part}_labels")
            if images[1:] != (self.side, self.side, 3) or labels[:1] != images[:1] or labels[1:] not in ((1,), ()):
                fix = f"give BloodMNIST's own file of {self.side} px"
                raise SettingsError(f"{path}: {part} has images {images} and labels {labels}", fix=fix)
            rows = zip(npz.rows(path, f"{part}_images"), npz.rows(path, f"{part}_labels"), strict=True)
            for number, (image, label) in enumerate(rows):
                name, known = f"{part}/{number:05}", _BY_NUMBER.get(str(int(label.item())))
                if known is None:
                    yield Fault(kind="label out of range", name=name, what=f"class {label.item()} is none of 0-7")
                else:
                    yield Sample(name=name, labels=(known,), content=image, pixel_um=self.facts.pixel_um, part=part)

    def _file(self, root: Path) -> Path:
        stem = "bloodmnist" if self.side == 28 else f"bloodmnist_{self.side}"
        found = [root / f"{stem}.npz", *sorted(root.glob(f"{stem}_subset*.npz"))]
        path = next((each for each in found if each.is_file()), None)
        if path is None:
            raise SettingsError(f"no {stem}.npz in {root}", fix="point --data at the folder that holds the dataset")
        return path


_BY_NUMBER = {number: name for name, number in _NUMBERS.items()}


class BloodMnist64(BloodMnist):
    """Adapter of BloodMNIST, 64 px."""

    side = 64
    facts = facts_of(64)


class BloodMnist128(BloodMnist):
    """Adapter of BloodMNIST, 128 px."""

    side = 128
    facts = facts_of(128)


class BloodMnist224(BloodMnist):
    """Adapter of BloodMNIST, 224 px."""

    side = 224
    facts = facts_of(224)
