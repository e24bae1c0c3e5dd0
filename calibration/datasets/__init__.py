"""Datasets. A new one is one module with an Adapter and one line in TABLE."""

from collections.abc import Mapping
from typing import Any

import msgspec

from calibration.adapter import Adapter
from edgecell import plugins
from edgecell.errors import SettingsError

TABLE = {
    "pbc": "calibration.datasets.pbc:Pbc",
    "bloodmnist": "calibration.datasets.bloodmnist:BloodMnist",
    "bloodmnist_64": "calibration.datasets.bloodmnist:BloodMnist64",
    "bloodmnist_128": "calibration.datasets.bloodmnist:BloodMnist128",
    "bloodmnist_224": "calibration.datasets.bloodmnist:BloodMnist224",
    "mll_marrow": "calibration.datasets.mll_marrow:MllMarrow",
    "bmc_fgcd": "calibration.datasets.bmc_fgcd:BmcFgcd",
    "balf": "calibration.datasets.balf:Balf",
    "balf_originals": "calibration.datasets.balf:BalfOriginals",
    "txl_pbc": "calibration.datasets.txl_pbc:TxlPbc",
    "txl_empty": "calibration.datasets.txl_pbc:TxlEmpty",
    "txl_white": "calibration.datasets.txl_pbc:TxlWhite",
    "wbc_masks": "calibration.datasets.wbc_masks:WbcMasks",
}
OWN = {
    "own_crops": "calibration.datasets.own_crops:OwnCrops",
    "own_boxes": "calibration.datasets.own_boxes:OwnBoxes",
}
"""A laboratory's own cells: where they are and what they show is said by the recipe, in `[data.options]`."""


def adapter(name: str, options: Mapping[str, Any] | None = None) -> Adapter:
    """The adapter of a dataset. options: for one that has an `Options` struct, which types them.

    Raises SettingsError that lists the known names, or names the option.
    """
    part = plugins.load("dataset", {**TABLE, **OWN}, name)
    if name in OWN:
        try:
            made: Adapter = part(msgspec.convert(options or {}, part.Options))
        except msgspec.ValidationError as error:
            raise SettingsError(f"data.options of dataset {name}: {error}", fix="correct that option in the recipe") from error
        return made
    if options:
        raise SettingsError(f"dataset {name} takes no options", fix="remove data.options from the recipe")
    published: Adapter = part()
    return published
