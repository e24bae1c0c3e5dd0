"""How cells are found. A new segmenter is one module and one line in TABLE."""

TABLE = {"stain": "edgecell.segmenters.stain:StainSegmenter"}
