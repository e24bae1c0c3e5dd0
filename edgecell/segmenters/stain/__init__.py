"""Finds cells by their stain: no learning, no weights.

`StainSegmenter` is the part. `centre_mask` masks the one cell of a single-cell image, for training and for crops.
"""

from edgecell.segmenters.stain.centre import centre_mask
from edgecell.segmenters.stain.segmenter import StainOptions, StainSegmenter

__all__ = ["StainOptions", "StainSegmenter", "centre_mask"]
