// SPDX-License-Identifier: Apache-2.0
#include "common/tensors.h"

#include <limits>
#include <stdexcept>
#include <string>

namespace edgefsa {

using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

namespace {

std::string shapeText(const nvinfer1::Dims& dims) {
    std::string text = "[";
    for (int i = 0; i < dims.nbDims; ++i) {
        text += (i == 0 ? "" : ", ") + std::to_string(dims.d[i]);
    }
    return text + "]";
}

[[noreturn]] void rejectShape(const char* name, const PluginTensorDesc& tensor, const std::string& wanted) {
    throw std::invalid_argument(std::string(name) + " has the shape " + shapeText(tensor.dims) + " and not " + wanted +
                                "; export the model again at this size");
}

}  // namespace

DataType kernelType(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT:
            return DataType::kFloat;
        case nvinfer1::DataType::kHALF:
            return DataType::kHalf;
        case nvinfer1::DataType::kINT8:
            return DataType::kInt8;
        default:
            throw std::invalid_argument("it takes float32, float16 and int8, not TensorRT's type " +
                                        std::to_string(static_cast<int>(type)));
    }
}

Format kernelFormat(TensorFormat format) {
    if (format == TensorFormat::kLINEAR) {
        return Format::kLinear;
    }
    if (format == TensorFormat::kHWC8) {
        return Format::kHwc8;
    }
    throw std::invalid_argument("it takes the formats kLINEAR and kHWC8, not TensorRT's format " +
                                std::to_string(static_cast<int>(format)));
}

int extent(const nvinfer1::Dims& dims, int index) {
    if (index >= dims.nbDims || dims.d[index] < 0 || dims.d[index] > std::numeric_limits<int>::max()) {
        throw std::invalid_argument("dimension " + std::to_string(index) + " of the shape " + shapeText(dims) +
                                    " is unknown or too large");
    }
    return static_cast<int>(dims.d[index]);
}

void requireShape(const char* name, const PluginTensorDesc& tensor, const std::vector<int>& wanted) {
    bool same = tensor.dims.nbDims == static_cast<int>(wanted.size());
    nvinfer1::Dims dims{};
    for (const int length : wanted) {
        same = same && tensor.dims.d[dims.nbDims] == length;
        dims.d[dims.nbDims++] = length;
    }
    if (!same) {
        rejectShape(name, tensor, shapeText(dims));
    }
}

void requireRank(const char* name, const PluginTensorDesc& tensor, int rank) {
    if (tensor.dims.nbDims != rank) {
        rejectShape(name, tensor, std::to_string(rank) + " dimensions");
    }
}

}  // namespace edgefsa
