"""How cells are found. A new segmenter is one module and one line in TABLE."""

TABLE = {
    "network": "edgecell.segmenters.network:NetworkSegmenter",
    "stain": "edgecell.segmenters.stain:StainSegmenter",
}
