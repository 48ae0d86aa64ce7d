// SPDX-License-Identifier: Apache-2.0
// Launcher of the operator UpsampleArgmax. The formula, the shapes and the traffic are in README.md beside this file.
#pragma once

#include <cuda_runtime_api.h>

#include "../types.h"

namespace edgefsa {

constexpr int kMaxClasses = 255;

// kHalf is what casts to uint8 in one step where TensorRT takes no uint8 from a plugin; 0 to 255 are exact in it.
enum class IndexType : std::int32_t { kInt32, kUint8, kHalf };

// Pointers are device pointers. No workspace, allocation, synchronisation or copy, so a CUDA graph can capture it.
struct UpsampleArgmaxParams {
    const void* x;         // logits [batch, classes, low_height, low_width]
    void* y;               // mask [batch, height, width] of index_type
    DataType type;         // of the logits, kFloat or kHalf
    Format format;         // of the logits; kHwc8 only with kHalf, and 16-byte aligned
    IndexType index_type;  // of the mask
    int batch;
    int classes;
    int low_height;
    int low_width;
    int height;
    int width;
};

// Gives cudaErrorInvalidValue, with nothing launched, for parameters that it cannot serve. `workspace` is not used.
cudaError_t launchUpsampleArgmax(const UpsampleArgmaxParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
