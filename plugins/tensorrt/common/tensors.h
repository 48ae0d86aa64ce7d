// SPDX-License-Identifier: Apache-2.0
// TensorRT's descriptions of tensors in the words of the kernels, and the checks that the operators share.
#pragma once

#include <NvInferRuntime.h>

#include <vector>

#include "kernels/types.h"

namespace edgefsa {

DataType kernelType(nvinfer1::DataType type);
Format kernelFormat(nvinfer1::TensorFormat format);

// One dimension as an int; throws std::invalid_argument where it does not fit.
int extent(const nvinfer1::Dims& dims, int index);

// Throws std::invalid_argument, with both shapes, where `tensor` has another shape than `wanted`.
void requireShape(const char* name, const nvinfer1::PluginTensorDesc& tensor, const std::vector<int>& wanted);
// The same for the number of dimensions alone.
void requireRank(const char* name, const nvinfer1::PluginTensorDesc& tensor, int rank);

}  // namespace edgefsa
