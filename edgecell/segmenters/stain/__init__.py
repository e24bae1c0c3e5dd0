"""Finds cells by their stain: no learning, no weights.

`centre_mask` masks the one cell of a single-cell image, for training and for crops.
"""

from edgecell.segmenters.stain.centre import centre_mask

__all__ = ["centre_mask"]
