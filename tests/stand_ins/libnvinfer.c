/* The functions of TensorRT's libraries that its Python bindings are linked against, 8.6 to 11: they let the bindings load, and
 * give nothing when called. The C++ names are of the Caffe and UFF parsers, which 8.6 still had. */
#include <stddef.h>

#define GIVES_NOTHING(name) \
    void *name(void) { return NULL; }

GIVES_NOTHING(createInferBuilder_INTERNAL)
GIVES_NOTHING(createInferRefitter_INTERNAL)
GIVES_NOTHING(createInferRuntime_INTERNAL)
GIVES_NOTHING(createNvOnnxParser_INTERNAL)
GIVES_NOTHING(createNvOnnxParserRefitter_INTERNAL)
GIVES_NOTHING(getBuilderPluginRegistry)
GIVES_NOTHING(getNvOnnxParserVersion)
GIVES_NOTHING(getPluginRegistry)
GIVES_NOTHING(initLibNvInferPlugins)
GIVES_NOTHING(_ZN11nvuffparser15createUffParserEv)
GIVES_NOTHING(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
GIVES_NOTHING(_ZN14nvcaffeparser117createCaffeParserEv)
GIVES_NOTHING(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
