"""Learned segmenters: whole fields with labelled cells -> a network that finds each cell's middle, box and mask."""
