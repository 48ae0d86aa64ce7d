// SPDX-License-Identifier: Apache-2.0
// Launcher of the frame preparation. The formula, the shapes and the traffic are in README.md beside this file.
#pragma once

#include <cuda_runtime_api.h>

#include "../types.h"

namespace edgefsa {

// Pointers are device pointers. No workspace, allocation, synchronisation or copy, so a CUDA graph can capture it.
struct FramePreparationParams {
    const void* frames;  // uint8 [batch, frame_height, frame_width, 3], BGR
    void* image;         // RGB [batch, 3, height, width] of the type and format; kHwc8 has 5 zeros behind each pixel
    DataType type;       // kFloat or kHalf
    Format format;       // kHwc8 only with kHalf, and 16-byte aligned
    int batch;
    int frame_height;
    int frame_width;
    int height;
    int width;
    float mean_rgb[3];  // of the pixels as they are, 0 to 255
    float std_rgb[3];   // likewise; not 0
};

// Gives cudaErrorInvalidValue, with nothing launched, for parameters that it cannot serve. `workspace` is not used.
cudaError_t launchFramePreparation(const FramePreparationParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
