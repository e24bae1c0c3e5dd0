"""TensorRT on an NVIDIA GPU: plans are built and verified on the device by `edgecell prepare`, and run by `engine.py`."""
