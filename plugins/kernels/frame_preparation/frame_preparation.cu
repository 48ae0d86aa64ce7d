// SPDX-License-Identifier: Apache-2.0
// Frames to an engine's input and masks back to frames, by tables of the pixels that make each new one.
#include "../common.cuh"
#include "../launch_checks.h"
#include "frame_preparation.h"

namespace edgefsa {
namespace frame_preparation {
namespace {

constexpr int kThreads = 128;
constexpr int kColours = 3;
constexpr int kRun = 4;  // pixels that a thread writes where rows are multiples of it

struct Pixel {
    std::uint8_t levels[kColours];
};

__device__ __forceinline__ int clamped(int index, int size) { return min(max(index, 0), size - 1); }

__device__ __forceinline__ std::uint8_t toLevel(float value) {
    return static_cast<std::uint8_t>(fminf(fmaxf(rintf(value), 0.0f), 255.0f));
}

// The pixels of `seen`, of which those beyond its edges repeat them.
struct Seen {
    const std::uint8_t* corner;
    std::size_t row_bytes;
    int height;
    int width;

    __device__ const std::uint8_t* row(int index) const { return corner + clamped(index, height) * row_bytes; }
    __device__ int column(int index) const { return clamped(index, width) * kColours; }
};

// As OpenCV computes it: rows with 11 bits, of which 4 are dropped, then columns with 11, and the last two rounded.
__device__ __forceinline__ Pixel bilinear(const FramePreparationParams& op, const Seen& seen, int y, int x) {
    const std::uint8_t* rows[2];
    int offsets[2], down[2], across[2];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        rows[k] = seen.row(op.first_rows[y] + k);
        offsets[k] = seen.column(op.first_columns[x] + k);
        down[k] = static_cast<int>(op.row_weights[2 * y + k]);
        across[k] = static_cast<int>(op.column_weights[2 * x + k]);
    }
    Pixel pixel;
#pragma unroll
    for (int colour = 0; colour < kColours; ++colour) {
        int sum = 2;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            const int mixed = rows[k][offsets[0] + colour] * across[0] + rows[k][offsets[1] + colour] * across[1];
            sum += ((mixed >> 4) * down[k]) >> 16;
        }
        pixel.levels[colour] = static_cast<std::uint8_t>(sum >> 2);
    }
    return pixel;
}

__device__ __forceinline__ Pixel mean(const FramePreparationParams& op, const Seen& seen, int y, int x) {
    int sums[kColours] = {};
    for (int down = 0; down < op.row_taps; ++down) {
        const std::uint8_t* row = seen.row(op.first_rows[y] + down);
        for (int across = 0; across < op.column_taps; ++across) {
            const std::uint8_t* at = row + seen.column(op.first_columns[x] + across);
#pragma unroll
            for (int colour = 0; colour < kColours; ++colour) {
                sums[colour] += at[colour];
            }
        }
    }
    const bool is_of_four = op.row_taps == 2 && op.column_taps == 2;  // where OpenCV rounds a half up, else to even
    const float share = 1.0f / static_cast<float>(op.row_taps * op.column_taps);
    Pixel pixel;
#pragma unroll
    for (int colour = 0; colour < kColours; ++colour) {
        pixel.levels[colour] = is_of_four ? static_cast<std::uint8_t>((sums[colour] + 2) >> 2)
                                          : toLevel(static_cast<float>(sums[colour]) * share);
    }
    return pixel;
}

// Products and sums are rounded one by one, in OpenCV's order.
__device__ __forceinline__ Pixel area(const FramePreparationParams& op, const Seen& seen, int y, int x) {
    float sums[kColours] = {};
    for (int down = 0; down < op.row_taps; ++down) {
        const std::uint8_t* row = seen.row(op.first_rows[y] + down);
        float parts[kColours] = {};
        for (int across = 0; across < op.column_taps; ++across) {
            const std::uint8_t* at = row + seen.column(op.first_columns[x] + across);
            const float weight = op.column_weights[x * op.column_taps + across];
#pragma unroll
            for (int colour = 0; colour < kColours; ++colour) {
                parts[colour] = __fadd_rn(parts[colour], __fmul_rn(static_cast<float>(at[colour]), weight));
            }
        }
        const float weight = op.row_weights[y * op.row_taps + down];
#pragma unroll
        for (int colour = 0; colour < kColours; ++colour) {
            sums[colour] = __fadd_rn(sums[colour], __fmul_rn(weight, parts[colour]));
        }
    }
    Pixel pixel;
#pragma unroll
    for (int colour = 0; colour < kColours; ++colour) {
        pixel.levels[colour] = toLevel(sums[colour]);
    }
    return pixel;
}

template <Resampling RESAMPLING>
__device__ __forceinline__ Pixel imagePixel(const FramePreparationParams& op, int y, int x) {
    const int down = y - op.filled_top, across = x - op.filled_left;
    if (down < 0 || down >= op.filled_height || across < 0 || across >= op.filled_width) {
        const auto border = static_cast<std::uint8_t>(op.border);
        return {{border, border, border}};
    }
    const std::size_t row_bytes = static_cast<std::size_t>(op.frame_width) * kColours;
    const Seen seen = {op.frame + op.seen_top * row_bytes + op.seen_left * kColours, row_bytes, op.seen_height,
                       op.seen_width};
    if constexpr (RESAMPLING == Resampling::kBilinear) {
        return bilinear(op, seen, down, across);
    } else if constexpr (RESAMPLING == Resampling::kMean) {
        return mean(op, seen, down, across);
    } else {
        return area(op, seen, down, across);
    }
}

// RUN pixels of a row a thread; blockIdx.y counts rows.
template <Resampling RESAMPLING, int RUN>
__global__ void __launch_bounds__(kThreads) prepareRuns(const FramePreparationParams op) {
    const int x = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * RUN;
    const int y = static_cast<int>(blockIdx.y);
    if (x >= op.width) {
        return;
    }
    Pack<std::uint8_t, RUN> packs[kColours];  // the run's bytes, colour after colour of a pixel
#pragma unroll
    for (int k = 0; k < RUN; ++k) {
        const Pixel pixel = imagePixel<RESAMPLING>(op, y, x + k);
#pragma unroll
        for (int colour = 0; colour < kColours; ++colour) {
            const int byte = k * kColours + colour;
            packs[byte / RUN].values[byte % RUN] = pixel.levels[colour];
        }
    }
    std::uint8_t* at = op.image + (static_cast<std::size_t>(y) * op.width + x) * kColours;
#pragma unroll
    for (int part = 0; part < kColours; ++part) {
        storePack(at + part * RUN, packs[part]);
    }
}

// RUN pixels of a row a thread; blockIdx.y counts rows.
template <int RUN>
__global__ void __launch_bounds__(kThreads) restoreRuns(const MaskRestorationParams op) {
    const int x = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * RUN;
    const int y = static_cast<int>(blockIdx.y);
    if (x >= op.frame_width) {
        return;
    }
    const int down = y - op.seen_top;
    const bool is_row = down >= 0 && down < op.seen_height;
    const std::uint8_t* row = is_row ? op.mask + static_cast<std::size_t>(op.rows[down]) * op.width : nullptr;
    Pack<std::uint8_t, RUN> pack;
#pragma unroll
    for (int k = 0; k < RUN; ++k) {
        const int across = x + k - op.seen_left;
        const bool is_seen = is_row && across >= 0 && across < op.seen_width;
        pack.values[k] = is_seen ? row[op.columns[across]] : static_cast<std::uint8_t>(op.ignore_index);
    }
    storePack(op.restored + static_cast<std::size_t>(y) * op.frame_width + x, pack);
}

bool isWithin(int first, int extent, int whole) noexcept {
    return first >= 0 && areExtents({extent}) && extent <= whole - first;
}

template <typename Params>
bool isSeenWithin(const Params& p) noexcept {
    return isWithin(p.seen_top, p.seen_height, p.frame_height) && isWithin(p.seen_left, p.seen_width, p.frame_width);
}

bool isLevel(int value) noexcept { return value >= 0 && value <= 255; }

bool isLaunchable(const FramePreparationParams& p) noexcept {
    const bool has_extents = areExtents({p.frame_height, p.frame_width, p.height, p.width, p.row_taps, p.column_taps});
    const bool has_boxes = isSeenWithin(p) && isWithin(p.filled_top, p.filled_height, p.height) &&
                           isWithin(p.filled_left, p.filled_width, p.width);
    const bool has_weights = p.resampling == Resampling::kMean || areGiven({p.row_weights, p.column_weights});
    const bool has_taps = p.resampling == Resampling::kBilinear
                              ? p.row_taps == 2 && p.column_taps == 2
                              : p.resampling == Resampling::kMean || p.resampling == Resampling::kArea;
    return has_extents && has_boxes && has_weights && has_taps && isLevel(p.border) &&
           isCountable({p.filled_height, p.row_taps}) && isCountable({p.filled_width, p.column_taps}) &&
           isCountable({255, p.row_taps, p.column_taps}) && areGiven({p.frame, p.image, p.first_rows, p.first_columns});
}

bool isLaunchable(const MaskRestorationParams& p) noexcept {
    return areExtents({p.height, p.width, p.frame_height, p.frame_width}) && isSeenWithin(p) &&
           isLevel(p.ignore_index) && areGiven({p.mask, p.restored, p.rows, p.columns});
}

template <typename Params>
cudaError_t launchRows(void (*in_runs)(Params), void (*one_by_one)(Params), const Params& params, const void* output,
                       int height, int width, cudaStream_t stream) noexcept {
    const bool has_runs = rowsAreAligned(output, 1, width, kRun);
    const dim3 grid(ceilDiv(has_runs ? width / kRun : width, kThreads), height);
    return launchKernel(has_runs ? in_runs : one_by_one, grid, kThreads, 0, stream, params);
}

template <Resampling RESAMPLING>
cudaError_t launchResampling(const FramePreparationParams& p, cudaStream_t stream) noexcept {
    return launchRows(prepareRuns<RESAMPLING, kRun>, prepareRuns<RESAMPLING, 1>, p, p.image, p.height, p.width, stream);
}

}  // namespace
}  // namespace frame_preparation

cudaError_t launchFramePreparation(const FramePreparationParams& params, void*, cudaStream_t stream) noexcept {
    if (!frame_preparation::isLaunchable(params)) {
        return cudaErrorInvalidValue;
    }
    switch (params.resampling) {
        case Resampling::kBilinear:
            return frame_preparation::launchResampling<Resampling::kBilinear>(params, stream);
        case Resampling::kMean:
            return frame_preparation::launchResampling<Resampling::kMean>(params, stream);
        case Resampling::kArea:
            return frame_preparation::launchResampling<Resampling::kArea>(params, stream);
    }
    return cudaErrorInvalidValue;
}

cudaError_t launchMaskRestoration(const MaskRestorationParams& params, void*, cudaStream_t stream) noexcept {
    if (!frame_preparation::isLaunchable(params)) {
        return cudaErrorInvalidValue;
    }
    return frame_preparation::launchRows(frame_preparation::restoreRuns<frame_preparation::kRun>,
                                         frame_preparation::restoreRuns<1>, params, params.restored,
                                         params.frame_height, params.frame_width, stream);
}

}  // namespace edgefsa
