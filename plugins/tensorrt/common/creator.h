// SPDX-License-Identifier: Apache-2.0
// One creator class for all plugins: what differs is the operator's own class.
#pragma once

#include <NvInferRuntime.h>

#include "common/fields.h"
#include "common/logging.h"
#include "common/plugin.h"

namespace edgefsa {

// `Operator` is a Plugin with kName, announceFields(FieldList&) and a constructor from a FieldReader that may throw.
template <typename Operator>
class Creator final : public nvinfer1::IPluginCreatorV3One {
  public:
    Creator() { Operator::announceFields(fields_); }

    nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                      nvinfer1::TensorRTPhase) noexcept override {
        return guarded(Operator::kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                       [&]() -> nvinfer1::IPluginV3* { return new Operator(FieldReader(fields)); });
    }
    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return fields_.collection(); }
    const char* getPluginName() const noexcept override { return Operator::kName; }
    const char* getPluginVersion() const noexcept override { return kPluginVersion; }
    const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  private:
    FieldList fields_;
};

}  // namespace edgefsa
