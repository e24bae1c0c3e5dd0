"""edgecell: microscope frames in, INT8 cell labels and honest counts out, over ZeroMQ.

Importing this package does nothing: no I/O, no logging set-up, no environment read.
"""

__version__ = "0.1.0"
