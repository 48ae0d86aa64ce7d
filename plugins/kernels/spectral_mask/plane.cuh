// SPDX-License-Identifier: Apache-2.0
// What a block of SpectralMask works on: a plane, in one band or several, and where its parts lie in shared memory. A
// plane is a channel of a sample, or in kHwc8 32 neighbouring channels.
#pragma once

#include "../common.cuh"
#include "spectral_mask.h"

namespace edgefsa {
namespace spectral_mask {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
// Groups of 8 channels that a block takes in kHwc8: neighbouring threads then read 64 contiguous bytes.
constexpr int kGroups = 4;
constexpr int kGroupChannels = 8;

template <Format FORMAT>
constexpr int kPlaneChannels = FORMAT == Format::kHwc8 ? kGroups * kGroupChannels : 1;

struct Work {
    SpectralMaskParams op;
    int planes_per_sample;
    int rows_per_band;      // height, in one pass
    int staged_bytes;       // of the plane in shared memory, in one pass
    float x_scale;          // 1 unless kInt8
    float inverse_y_scale;  // likewise
    // Of two passes alone:
    int planes, bands;   // bands of a plane
    int lag;             // planes by which the second pass is behind the first
    unsigned* counters;  // [1 + planes], zero at first: tickets taken, and threads that have ended a plane's first pass
    float* partial;      // [planes, bands, mh mw, channels of a plane]: sums of each band
};

// Where the parts of a block's shared memory lie, in bytes. The staged plane comes first.
struct SharedLayout {
    int basis_h;  // [rows of a band, row_stride], filled up with zeros
    int basis_w;  // [mw, width]
    int sums;     // [warps, mh mw, channels]
    int tokens;   // [mh mw, channels]
    int changes;  // likewise
    int end;
};

template <int MODES_H>
constexpr int kRowStride = (MODES_H + 3) / 4 * 4;

__host__ __device__ constexpr SharedLayout sharedLayout(const Work& work, int row_stride, int plane_channels) {
    const int tokens = work.op.modes_h * work.op.modes_w * plane_channels;
    SharedLayout layout = {};
    layout.basis_h = roundUp(work.staged_bytes, 16);
    layout.basis_w = layout.basis_h + work.rows_per_band * row_stride * 4;
    layout.sums = layout.basis_w + roundUp(work.op.width * work.op.modes_w, 4) * 4;
    layout.tokens = layout.sums + kWarps * roundUp(tokens, 4) * 4;
    layout.changes = layout.tokens + roundUp(tokens, 4) * 4;
    layout.end = layout.changes + roundUp(tokens, 4) * 4;
    return layout;
}

struct Shared {
    void* staged;
    float *basis_h, *basis_w, *sums, *tokens, *changes;
};

__device__ __forceinline__ Shared sharedOf(const SharedLayout& layout) {
    unsigned char* memory = dynamicShared<unsigned char>();
    return {memory,
            reinterpret_cast<float*>(memory + layout.basis_h),
            reinterpret_cast<float*>(memory + layout.basis_w),
            reinterpret_cast<float*>(memory + layout.sums),
            reinterpret_cast<float*>(memory + layout.tokens),
            reinterpret_cast<float*>(memory + layout.changes)};
}

// How a block's threads share a band of a plane. A pack is what a thread moves at once: VEC neighbours of a row, or a
// pixel's group of channels. Threads lie along a row, and as many rows at once as there are threads for.
struct Tile {
    std::size_t offset;  // of the band's first element in x and y
    int row_stride;      // elements from a row to the next
    int first_channel;
    int channels;  // that are real; the rest of a kHwc8 plane is padding
    int first_row, rows;
    int packs;  // in a row
    int packs_at_once, rows_at_once;
    int pack, row;  // where this thread starts; row is past rows for one that has none
};

template <int VEC, Format FORMAT>
__device__ __forceinline__ Tile tileOf(const Work& work, int plane, int band) {
    const SpectralMaskParams& op = work.op;
    constexpr int kChannels = kPlaneChannels<FORMAT>;
    const int sample = plane / work.planes_per_sample;
    Tile tile;
    tile.first_channel = (plane - sample * work.planes_per_sample) * kChannels;
    tile.channels = min(op.channels - tile.first_channel, kChannels);
    tile.first_row = band * work.rows_per_band;
    tile.rows = min(op.height - tile.first_row, work.rows_per_band);
    const std::size_t pixels = static_cast<std::size_t>(op.height) * op.width;
    if constexpr (FORMAT == Format::kHwc8) {
        const int stored = roundUp(op.channels, kGroupChannels);
        tile.row_stride = op.width * stored;
        tile.offset =
            sample * pixels * stored + static_cast<std::size_t>(tile.first_row) * tile.row_stride + tile.first_channel;
        tile.packs = op.width * kGroups;
    } else {
        tile.row_stride = op.width;
        tile.offset = (static_cast<std::size_t>(sample) * op.channels + tile.first_channel) * pixels +
                      static_cast<std::size_t>(tile.first_row) * op.width;
        tile.packs = op.width / VEC;
    }
    tile.packs_at_once = min(tile.packs, kThreads);
    tile.rows_at_once = kThreads / tile.packs_at_once;
    tile.row = static_cast<int>(threadIdx.x) / tile.packs_at_once;
    tile.pack = static_cast<int>(threadIdx.x) - tile.row * tile.packs_at_once;
    if (tile.row >= tile.rows_at_once) {
        tile.row = tile.rows;
    }
    return tile;
}

// The first element of a pack within its row, in memory; in kHwc8 the plane's groups lie side by side.
template <int VEC, Format FORMAT>
__device__ __forceinline__ int elementOf(const Tile& tile, int width, int pack) {
    if constexpr (FORMAT == Format::kHwc8) {
        return pack / kGroups * (tile.row_stride / width) + pack % kGroups * kGroupChannels;
    }
    return pack * VEC;
}

// Whether the pack lies in the row and, in kHwc8, in a group that the tensor has.
template <Format FORMAT>
__device__ __forceinline__ bool holds(const Tile& tile, int pack) {
    if constexpr (FORMAT == Format::kHwc8) {
        return pack < tile.packs && pack % kGroups * kGroupChannels < tile.channels;
    }
    return pack < tile.packs;
}

template <int ROW_STRIDE>
__device__ __forceinline__ void loadBases(const Work& work, const Tile& tile, const Shared& shared) {
    const SpectralMaskParams& op = work.op;
    for (int i = threadIdx.x; i < tile.rows * ROW_STRIDE; i += kThreads) {
        const int row = i / ROW_STRIDE;
        const int mode = i - row * ROW_STRIDE;
        shared.basis_h[i] = mode < op.modes_h ? op.basis_h[(tile.first_row + row) * op.modes_h + mode] : 0.0f;
    }
    for (int i = threadIdx.x; i < op.width * op.modes_w; i += kThreads) {
        const int column = i / op.modes_w;
        shared.basis_w[(i - column * op.modes_w) * op.width + column] = op.basis_w[i];
    }
}

}  // namespace spectral_mask
}  // namespace edgefsa
