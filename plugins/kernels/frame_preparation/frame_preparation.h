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

// Pointers are device pointers. No workspace, allocation, synchronisation or copy, so a CUDA graph can capture it.
struct FramePreparationParams {
    const std::uint8_t* frame;    // [frame_height, frame_width, 3]
    std::uint8_t* image;          // [height, width, 3]
    const int* first_rows;        // [filled_height]: the first of `seen` that makes each; beyond it the edge repeats
    const int* first_columns;     // [filled_width]
    const float* row_weights;     // [filled_height, row_taps]; kMean reads none
    const float* column_weights;  // [filled_width, column_taps]
    Resampling resampling;
    int row_taps;  // how many rows make one; 2 of kBilinear
    int column_taps;
    int frame_height;
    int frame_width;
    int height;
    int width;
    int seen_top;  // the part of the frame that is resampled
    int seen_left;
    int seen_height;
    int seen_width;
    int filled_top;  // where it goes in the image
    int filled_left;
    int filled_height;
    int filled_width;
    int border;  // the level of everything else there, 0 to 255
};

struct MaskRestorationParams {
    const std::uint8_t* mask;  // [height, width]
    std::uint8_t* restored;    // [frame_height, frame_width]
    const int* rows;           // [seen_height]: the mask's row of each
    const int* columns;        // [seen_width]
    int frame_height;
    int frame_width;
    int height;
    int width;
    int seen_top;  // the part of the frame that the mask knows
    int seen_left;
    int seen_height;
    int seen_width;
    int ignore_index;  // the class of everything else, 0 to 255
};

// Both give cudaErrorInvalidValue, with nothing launched, for parameters that they cannot serve. `workspace` is not
// used.
cudaError_t launchFramePreparation(const FramePreparationParams& params, void* workspace, cudaStream_t stream) noexcept;
cudaError_t launchMaskRestoration(const MaskRestorationParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
