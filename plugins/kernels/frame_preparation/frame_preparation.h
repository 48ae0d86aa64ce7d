// SPDX-License-Identifier: Apache-2.0
// Launchers that fit camera frames to an engine's input and its masks back to the frames. What they compute, the shapes
// and the traffic are in README.md beside this file.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace edgefsa {

// How the pixels of a row and a column are weighed into one.
enum class Resampling : std::int32_t {
    kBilinear,  // two by two, in integers: weights are multiples of 1 / 2048, given times 2048
    kMean,      // all alike, in integers
    kArea,      // by weights that add up to 1, in float32
};

// A part of a frame or an image, in whole pixels.
struct PixelBox {
    int top;
    int left;
    int height;
    int width;
};

// Pointers are device pointers. No workspace, allocation, synchronisation or copy, so a CUDA graph can capture it.
struct FramePreparationParams {
    const std::uint8_t* frame;    // [frame_height, frame_width, 3]
    std::uint8_t* image;          // [height, width, 3]
    const int* first_rows;        // [filled.height]: the first row of `seen` that makes each; beyond it, the edge repeats
    const int* first_columns;     // [filled.width]
    const float* row_weights;     // [filled.height, row_taps]; kMean reads none
    const float* column_weights;  // [filled.width, column_taps]
    Resampling resampling;
    int row_taps;  // how many rows make one; 2 of kBilinear
    int column_taps;
    int frame_height;
    int frame_width;
    int height;
    int width;
    PixelBox seen;    // the part of the frame that is resampled
    PixelBox filled;  // where it goes in the image
    int border;       // the level of everything else there, 0 to 255
};

struct MaskRestorationParams {
    const std::uint8_t* mask;  // [height, width]
    std::uint8_t* restored;    // [frame_height, frame_width]
    const int* rows;           // [seen.height]: the mask's row of each
    const int* columns;        // [seen.width]
    int height;
    int width;
    int frame_height;
    int frame_width;
    PixelBox seen;     // the part of the frame that the mask knows
    int ignore_index;  // the class of everything else, 0 to 255
};

// Both give cudaErrorInvalidValue, with nothing launched, for parameters that they cannot serve. `workspace` is not used.
cudaError_t launchFramePreparation(const FramePreparationParams& params, void* workspace, cudaStream_t stream) noexcept;
cudaError_t launchMaskRestoration(const MaskRestorationParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
