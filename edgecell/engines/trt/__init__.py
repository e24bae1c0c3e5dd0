"""TensorRT: plans built on the device from a bundle's ONNX files, and run there.

Nothing of the vendor is imported before it is used, and nothing of it is called before a driver was found: without one some
of its calls end the process. All but the engine itself gets by with the standard library and numpy.
"""
