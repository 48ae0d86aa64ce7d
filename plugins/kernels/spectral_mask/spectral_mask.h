// SPDX-License-Identifier: Apache-2.0
// Launcher of the operator SpectralMask. The formula, the shapes and the traffic are in README.md beside this file.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "../types.h"

namespace edgefsa {

constexpr int kMaxMaskModesH = 9;   // largest mh
constexpr int kMaxMaskModesW = 16;  // largest mw

// How often x is read from memory or the cache. kChosen leaves it to the launcher; kOne keeps a plane in shared memory,
// and is refused where it does not fit.
enum class Passes : std::int32_t { kChosen, kOne, kTwo };

// Pointers are device pointers; x and y have the given type and format, everything else is float32, row-major and
// contiguous. No allocation, synchronisation or copy, so a CUDA graph can capture it.
struct SpectralMaskParams {
    const void* x;  // [batch, channels, height, width]
    void* y;        // shape, type and format of x; may not overlap x
    DataType type;
    Format format;  // kHwc8 only with kHalf, and 16-byte aligned
    float x_scale;  // kInt8: real value = x_scale * stored value; otherwise not read
    float y_scale;  // kInt8: stored value = real value / y_scale, rounded and saturated; otherwise not read
    int batch;
    int channels;
    int height;
    int width;
    int modes_h;                 // mh
    int modes_w;                 // mw
    const float* gain;           // [channels]
    const float* basis_h;        // [height, mh]
    const float* basis_w;        // [width, mw]
    const float* coupling_gain;  // [mh mw, mh mw]
    const float* coupling_base;  // [mh mw, mh mw]
    Passes passes;
};

// Whether the launcher serves these sizes, type, format and scales on the current device: channels-last planes and wide
// maps of many modes can take more shared memory than it has. Pointers are not looked at; 16-byte aligned ones are
// meant.
bool isServed(const SpectralMaskParams& params) noexcept;

// Bytes of workspace, 16-byte aligned and of any initial value; 0 for parameters that the launcher refuses.
std::size_t spectralMaskWorkspaceBytes(const SpectralMaskParams& params) noexcept;

// Gives cudaErrorInvalidValue, with nothing launched, for parameters that it cannot serve.
cudaError_t launchSpectralMask(const SpectralMaskParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
