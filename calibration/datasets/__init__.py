"""Datasets. A new one is one module with a `read(root, options)` and one line in TABLE."""

TABLE = {
    "pbc": "calibration.datasets.pbc:Pbc",
    "mll_marrow": "calibration.datasets.mll_marrow:MllMarrow",
    "txl_pbc": "calibration.datasets.txl_pbc:TxlPbc",
    "txl_empty": "calibration.datasets.txl_pbc:TxlEmpty",
    "txl_white": "calibration.datasets.txl_pbc:TxlWhite",
}
