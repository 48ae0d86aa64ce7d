// TensorRT's descriptions of tensors in the words of the kernels, and the checks that the operators share.
#pragma once

#include <NvInferRuntime.h>

#include <initializer_list>

#include "kernels/types.h"

namespace edgefsa {

// How an INT8 tensor is read: real value = scale * stored value. 0 where the node says nothing.
struct Scales {
    float x = 0.0f;
    float y = 0.0f;
};

DataType kernelType(nvinfer1::DataType type);
Format kernelFormat(nvinfer1::TensorFormat format);

// One dimension as an int; throws std::invalid_argument where it does not fit.
int extent(const nvinfer1::Dims& dims, int index);

// Throws std::invalid_argument, with both shapes, where `tensor` has another shape than `wanted`.
void requireShape(const char* name, const nvinfer1::PluginTensorDesc& tensor, std::initializer_list<int> wanted);
// The same for the number of dimensions alone.
void requireRank(const char* name, const nvinfer1::PluginTensorDesc& tensor, int rank);

// The scale of an INT8 tensor: the node's own, else what TensorRT says (implicit quantisation, TensorRT 10 only).
float int8Scale(float given, const nvinfer1::PluginTensorDesc& tensor);

// The combinations of an operator that makes a map y out of a map x of the same shape: x float32 linear, float16 linear
// or kHWC8, or int8 linear with known scales; y as x; all other inputs float32 linear. y is the last tensor.
bool supportsMap(int position, const nvinfer1::DynamicPluginTensorDesc* tensors, int inputCount, const Scales& scales);

}  // namespace edgefsa
