"""A stand-in for NVIDIA's cuda-bindings on a machine without a GPU: `runtime`, as much of it as edgecell uses."""

__version__ = "12.9.4+stand.in"
