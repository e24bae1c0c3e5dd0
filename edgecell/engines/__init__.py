"""What runs a model. A new engine is one module and one line in TABLE."""

TABLE = {"onnxrt": "edgecell.engines.onnxrt:OnnxRuntimeEngine"}
