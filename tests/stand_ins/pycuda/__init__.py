"""A stand-in for pycuda on a machine without a GPU: `driver`, as much of it as edgecell uses."""

VERSION_TEXT = "2026.1+stand.in"
