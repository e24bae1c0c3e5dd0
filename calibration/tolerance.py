"""Which classes may be taken for one another: neighbouring stages of a maturation, where readers differ among themselves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Groups = Sequence[Sequence[str]]


def tolerated(names: Sequence[str], groups: Groups) -> NDArray[np.bool_]:
    """(K, K), true where a cell of one class may be called the other: both are in one group, or they are the same class.

    Groups may overlap, as (blast, promyelocyte) and (promyelocyte, myelocyte) do: a blast called a myelocyte is wrong.
    """
    table = np.eye(len(names), dtype=bool)
    for group in groups:
        inside = np.isin(names, list(group))
        table |= inside[:, None] & inside
    return table
