"""A stand-in for NVIDIA's cuda-bindings on a machine without a GPU: `runtime`, as much of it as edgecell uses."""

__version__ = "13.0.0+stand.in"
