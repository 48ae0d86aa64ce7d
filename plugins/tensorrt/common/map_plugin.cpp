// SPDX-License-Identifier: Apache-2.0
#include "common/map_plugin.h"

#include <cmath>
#include <stdexcept>

namespace edgefsa {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

namespace {

constexpr const char* kXScale = "x_scale";
constexpr const char* kYScale = "y_scale";

}  // namespace

void MapPlugin::announceScales(FieldList& fields) {
    fields.announce(kXScale, nvinfer1::PluginFieldType::kFLOAT32);
    fields.announce(kYScale, nvinfer1::PluginFieldType::kFLOAT32);
}

MapPlugin::MapPlugin(const char* name, std::int32_t inputCount, const FieldReader& fields)
    : Plugin(name, inputCount), xScale_(fields.real(kXScale, 0.0f)), yScale_(fields.real(kYScale, 0.0f)) {
    const bool hasBoth = xScale_ > 0.0f && yScale_ > 0.0f && std::isfinite(xScale_) && std::isfinite(yScale_);
    const bool hasNone = xScale_ == 0.0f && yScale_ == 0.0f;
    if (!hasBoth && !hasNone) {
        throw std::invalid_argument("the attributes x_scale and y_scale are " + std::to_string(xScale_) + " and " +
                                    std::to_string(yScale_) + "; both have to be positive for int8, or both 0");
    }
}

void MapPlugin::listScales(FieldList& fields) const {
    fields.add(kXScale, xScale_);
    fields.add(kYScale, yScale_);
}

// The node's own, else TensorRT's, which has one only where calibration gave it (implicit quantisation, TensorRT 10).
float MapPlugin::scaleOf(float given, const PluginTensorDesc& tensor) { return given > 0.0f ? given : tensor.scale; }

bool MapPlugin::supports(std::int32_t position, const DynamicPluginTensorDesc* tensors) const {
    const PluginTensorDesc& x = tensors[0].desc;
    const PluginTensorDesc& tensor = tensors[position].desc;
    const bool isLinear = tensor.format == TensorFormat::kLINEAR;
    if (position > 0 && position < inputCount()) {
        return isLinear && tensor.type == nvinfer1::DataType::kFLOAT;
    }
    if (tensor.type != x.type || tensor.format != x.format) {
        return false;
    }
    const bool hasScales = xScale_ > 0.0f;
    switch (tensor.type) {
        case nvinfer1::DataType::kFLOAT:
            return isLinear && !hasScales;
        case nvinfer1::DataType::kHALF:
            return (isLinear || tensor.format == TensorFormat::kHWC8) && !hasScales;
        case nvinfer1::DataType::kINT8:
            return isLinear && (hasScales || tensor.scale > 0.0f);
        default:
            return false;
    }
}

}  // namespace edgefsa
