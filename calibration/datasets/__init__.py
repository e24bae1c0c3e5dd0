"""Datasets. A new one is one module with an Adapter and one line in TABLE."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from calibration.facts import Facts
from calibration.sample import Sample
from edgecell import plugins

TABLE = {
    "pbc": "calibration.datasets.pbc:Pbc",
    "mll_marrow": "calibration.datasets.mll_marrow:MllMarrow",
    "txl_pbc": "calibration.datasets.txl_pbc:TxlPbc",
    "txl_empty": "calibration.datasets.txl_pbc:TxlEmpty",
    "txl_white": "calibration.datasets.txl_pbc:TxlWhite",
}


class Adapter(Protocol):
    """Reads one dataset as it is published, or as it lies in the copies that are in use."""

    facts: Facts

    def read(self, root: Path) -> Iterator[Sample]:
        """All labelled cells below `root`, in a fixed order, one at a time. Labels are class names of `facts`.

        Raises SettingsError when the dataset is not there.
        """
        ...


def adapter(name: str) -> Adapter:
    """The adapter of a dataset. Raises SettingsError that lists the known names."""
    part: Adapter = plugins.load("dataset", TABLE, name)()
    return part
