"""Makes a bundle ready for TensorRT on this device: plans are built, verified and timed, and runs take the faster one."""
