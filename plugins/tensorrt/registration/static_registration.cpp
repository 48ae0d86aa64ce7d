// SPDX-License-Identifier: Apache-2.0
// Registers the plugins when a program that links them starts; REGISTER_TENSORRT_PLUGIN would make creators of its own.
#include "common/plugin.h"
#include "registration/creators.h"

namespace {

struct Registrar {
    Registrar() noexcept {
        std::int32_t count = 0;
        nvinfer1::IPluginCreatorInterface* const* const creators = getCreators(count);
        for (std::int32_t i = 0; i < count; ++i) {
            getPluginRegistry()->registerCreator(*creators[i], edgefsa::kPluginNamespace);
        }
    }
};
const Registrar registrar;

}  // namespace
