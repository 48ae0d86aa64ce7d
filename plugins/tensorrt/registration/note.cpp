// SPDX-License-Identifier: Apache-2.0
// What the library was made of, readable in the file itself: plugin_library.py finds it without loading the library.
#include <NvInferVersion.h>
#include <cuda_runtime_api.h>

#include "registration/creators.h"

#define EDGEFSA_TEXT_OF(value) #value
#define EDGEFSA_TEXT(value) EDGEFSA_TEXT_OF(value)

extern "C" {
EDGEFSA_EXPORT extern const char edgefsaPluginsNote[];
const char edgefsaPluginsNote[] =
    "edgefsa-plugins-note:{\"tensorrt\": \"" EDGEFSA_TEXT(NV_TENSORRT_MAJOR) "." EDGEFSA_TEXT(
        NV_TENSORRT_MINOR) "." EDGEFSA_TEXT(NV_TENSORRT_PATCH) "\", \"cudart\": " EDGEFSA_TEXT(CUDART_VERSION)
    ", \"architectures\": \"" EDGEFSA_ARCHITECTURES "\", \"source_sha256\": \"" EDGEFSA_SOURCE_SHA256 "\"}";
}
