"""Makes a bundle ready for this device: TensorRT's plans are built, verified and timed, and all engines are compared."""
