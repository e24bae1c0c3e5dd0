"""Finds cells with a network: fully convolutional, INT8, from a bundle of task "segment"."""

from edgecell.segmenters.network.segmenter import NetworkOptions, NetworkSegmenter

__all__ = ["NetworkOptions", "NetworkSegmenter"]
