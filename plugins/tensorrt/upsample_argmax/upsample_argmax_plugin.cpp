// SPDX-License-Identifier: Apache-2.0
#include "upsample_argmax/upsample_argmax_plugin.h"

#include <stdexcept>

#include "common/tensors.h"
#include "kernels/launch_checks.h"

namespace edgefsa {
namespace {

constexpr std::int32_t kLogits = 0;
constexpr std::int32_t kInputCount = 1;
constexpr const char* kHalfIndices = "half_indices";

}  // namespace

void UpsampleArgmaxPlugin::announceFields(FieldList& fields) {
    fields.announce("height", nvinfer1::PluginFieldType::kINT32);
    fields.announce("width", nvinfer1::PluginFieldType::kINT32);
    fields.announce(kHalfIndices, nvinfer1::PluginFieldType::kINT32);
}

UpsampleArgmaxPlugin::UpsampleArgmaxPlugin(const FieldReader& fields)
    : Cloneable(kName, kInputCount),
      height_(fields.integer("height")),
      width_(fields.integer("width")),
      half_indices_(fields.integer(kHalfIndices, 0)) {
    if (!areExtents({height_, width_})) {
        throw std::invalid_argument("the attributes height and width are " + std::to_string(height_) + " and " +
                                    std::to_string(width_) + "; they can be 1 to " + std::to_string(kMaxExtent));
    }
}

// Not uint8: TensorRT has that type only at the ends of a network, and the graph casts there.
nvinfer1::DataType UpsampleArgmaxPlugin::outputType(const nvinfer1::DataType*) const {
    return half_indices_ != 0 ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kINT32;
}

nvinfer1::DimsExprs UpsampleArgmaxPlugin::outputShape(const nvinfer1::DimsExprs* inputs,
                                                      nvinfer1::IExprBuilder& builder) const {
    if (inputs[kLogits].nbDims != 4) {
        throw std::invalid_argument("logits have " + std::to_string(inputs[kLogits].nbDims) +
                                    " dimensions and not 4; export the model again");
    }
    nvinfer1::DimsExprs shape{};
    shape.nbDims = 3;
    shape.d[0] = inputs[kLogits].d[0];
    shape.d[1] = builder.constant(height_);
    shape.d[2] = builder.constant(width_);
    return shape;
}

bool UpsampleArgmaxPlugin::supports(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors) const {
    const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
    const bool linear = tensor.format == nvinfer1::TensorFormat::kLINEAR;
    if (position == kInputCount) {
        return linear && tensor.type == outputType(nullptr);
    }
    const bool half = tensor.type == nvinfer1::DataType::kHALF;
    return (linear && (half || tensor.type == nvinfer1::DataType::kFLOAT)) ||
           (half && tensor.format == nvinfer1::TensorFormat::kHWC8);
}

void UpsampleArgmaxPlugin::check(const Tensors& tensors) const {
    requireRank("logits", tensors.inputs[kLogits], 4);
    const int batch = extent(tensors.inputs[kLogits].dims, 0), classes = extent(tensors.inputs[kLogits].dims, 1);
    const int low_height = extent(tensors.inputs[kLogits].dims, 2), low_width = extent(tensors.inputs[kLogits].dims, 3);
    if (batch > kMaxExtent || !areExtents({low_height, low_width})) {
        throw std::invalid_argument("logits are a batch of " + std::to_string(batch) + " maps of " +
                                    std::to_string(low_height) + " x " + std::to_string(low_width) +
                                    "; it takes at most " + std::to_string(kMaxExtent) + " of each, and no empty maps");
    }
    if (classes > kMaxClasses) {
        throw std::invalid_argument("it takes at most " + std::to_string(kMaxClasses) + " classes, not " +
                                    std::to_string(classes));
    }
    requireShape("the output", tensors.output, {batch, height_, width_});
}

std::size_t UpsampleArgmaxPlugin::workspaceBytes(const Tensors&) const { return 0; }

cudaError_t UpsampleArgmaxPlugin::launch(const Tensors& tensors, const Addresses& addresses,
                                         cudaStream_t stream) const {
    UpsampleArgmaxParams params = paramsOf(tensors);
    params.x = addresses.inputs[kLogits];
    params.y = addresses.output;
    return launchUpsampleArgmax(params, addresses.workspace, stream);
}

void UpsampleArgmaxPlugin::listFields(FieldList& fields) const {
    fields.add("height", height_);
    fields.add("width", width_);
    fields.add(kHalfIndices, half_indices_);
}

std::string UpsampleArgmaxPlugin::settings() const {
    return std::to_string(height_) + "x" + std::to_string(width_) + (half_indices_ != 0 ? ".half" : "");
}

// Everything but the addresses.
UpsampleArgmaxParams UpsampleArgmaxPlugin::paramsOf(const Tensors& tensors) const {
    const nvinfer1::PluginTensorDesc& logits = tensors.inputs[kLogits];
    UpsampleArgmaxParams params{};
    params.type = kernelType(logits.type);
    params.format = kernelFormat(logits.format);
    params.index_type = half_indices_ != 0 ? IndexType::kHalf : IndexType::kInt32;
    params.batch = extent(logits.dims, 0);
    params.classes = extent(logits.dims, 1);
    params.low_height = extent(logits.dims, 2);
    params.low_width = extent(logits.dims, 3);
    params.height = height_;
    params.width = width_;
    return params;
}

}  // namespace edgefsa
