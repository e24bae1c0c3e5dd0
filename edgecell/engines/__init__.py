"""What runs a model. A new engine is one module and one line in TABLE.

Convention for every engine class: `Engine(model, manifest=..., options=...)` takes the path of an ONNX file, and
`encoding_of(bundle, options)`, a class method, says which file of a bundle that is, `ENCODING.onnx`; it raises EngineError or
MissingDependency where this machine has nothing to run the bundle with. `installed()`, another one, is the version that its
probe would tell, or "", found out without importing what is slow to import. `manifest` is left out by the workshop only, which
also runs models that are in no bundle yet.
"""

TABLE = {
    "onnxrt": "edgecell.engines.onnxrt:OnnxRuntimeEngine",
    "openvino": "edgecell.engines.openvino:OpenVinoEngine",
    "trt": "edgecell.engines.trt.engine:TensorRtEngine",
}
