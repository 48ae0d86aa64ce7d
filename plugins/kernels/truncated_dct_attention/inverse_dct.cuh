// SPDX-License-Identifier: Apache-2.0
// What the forms of the inverse DCT share: y = x + left^T right on a tile, with left [kw, rows], right [kw, columns]
// in shared memory. In linear planes rows are image rows, columns pixels; in channels-last ones, pixels and channels.
#pragma once

#include "../launch_chain.cuh"
#include "truncated_dct_attention.h"

namespace edgefsa {

constexpr int kInverseThreads = 256;
constexpr int kInverseSumFloats = 6144;    // of basis_h^T change per block
constexpr int kInverseBasisFloats = 4096;  // of basis_w per block: with the sums, 40 KB of shared memory

struct InverseArguments {
    const void* x;
    void* y;
    const float* changes;  // [passes, batch, channels, token_stride]
    const float* gains;    // e and v of mode kLinSoftmax [passes, batch, height, width], else nullptr; the mean m is
    const float* masses;   // then the element of `changes` that follows the tokens
    const float* basis_h;
    const float* basis_w;
    const float* shift;
    int batch;
    int channels;
    int height;
    int width;
    int kh;
    int kw;
    int token_stride;
    int passes;
    int rows_per_block;  // image rows
    int tile_columns;    // pixels of a row
    int tile_channels;   // in format kHwc8
    float shift_gain;
    float x_scale;
    float y_gain;
};

// One pass, gains and masses nullptr; the tiling is left to the launchers.
InverseArguments inverseArguments(const InverseDctParams& params) noexcept;

// These choose rows_per_block, tile_columns and tile_channels themselves.
cudaError_t launchInverse(const InverseArguments& arguments, DataType type, Format format, Chain& chain) noexcept;
cudaError_t launchInverseLinear(InverseArguments arguments, DataType type, Chain& chain) noexcept;
cudaError_t launchInverseHwc(InverseArguments arguments, Chain& chain) noexcept;

// A tile of x and y, and where its update comes from. Columns are pixels of one channel, or channels of one pixel
// (then rows are pixels) where CHANNELS_LAST.
template <typename T, bool CHANNELS_LAST>
struct Tile {
    static constexpr bool kChannelsLast = CHANNELS_LAST;
    using Element = T;

    const T* x;
    T* y;
    std::size_t row_stride;
    int rows;
    int columns;
    int stored_columns;  // from `columns` on y is 0
    const float* left;   // [passes, kw, left_stride]; a pass may be left_pass_step = 0 after the one before
    const float* right;
    int left_stride;
    int right_stride;
    int right_run_stride;  // see columnAt
    int left_pass_step;
    int right_pass_step;
    const float* shift;  // of the first channel
    // Mode kLinSoftmax only: of the first pixel, and of the first channel.
    const float* gains;
    const float* masses;
    std::size_t map_pass_step;
    const float* means;
    std::size_t mean_pass_step;
};

// basis_h[:, row]^T change[:, j] of one plane.
__device__ __forceinline__ float inverseSum(const InverseArguments& a, const float* change, int j, int row) {
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 0; i < a.kh; ++i) {
        sum += change[i * a.kw + j] * a.basis_h[static_cast<std::size_t>(i) * a.height + row];
    }
    return sum;
}

// A thread takes COLUMNS neighbours of a row of `right`, by runs of 4. In shared memory all threads' first runs come
// first, then their second ones: the 8 threads that it serves together read 128 bytes that lie together, in as many
// banks. The column that lies at a place of such a row, of a length that is a multiple of COLUMNS; and the other way.
template <int COLUMNS>
__device__ __forceinline__ int columnAt(int place, int length) {
    const int run_stride = length / (COLUMNS / 4);
    return place % run_stride / 4 * COLUMNS + place / run_stride * 4 + place % 4;
}
template <int COLUMNS>
__device__ __forceinline__ int placeOfColumn(int column, int length) {
    constexpr int kRuns = COLUMNS / 4;
    return column / 4 % kRuns * (length / kRuns) + column / COLUMNS * 4 + column % 4;
}

// Puts columns [first, first + tile_columns) of basis_w into staged [kw, tile_columns], as columnAt has them; 0 beyond
// its edge.
template <int COLUMNS>
__device__ __forceinline__ void stageColumns(const InverseArguments& a, int first, float* staged) {
    for (int index = static_cast<int>(threadIdx.x); index < a.kw * a.tile_columns; index += kInverseThreads) {
        const int j = index / a.tile_columns;
        const int column = first + columnAt<COLUMNS>(index % a.tile_columns, a.tile_columns);
        staged[index] = column < a.width ? a.basis_w[static_cast<std::size_t>(j) * a.width + column] : 0.0f;
    }
}

// Runs of 4, or what there is of one, run_stride from one to the next.
template <int COUNT>
__device__ __forceinline__ void loadShared(const float* address, int run_stride, float (&values)[COUNT]) {
    constexpr int kRun = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int run = 0; run < COUNT / kRun; ++run) {
        const Pack<float, kRun> pack = loadPack<kRun>(address + run * run_stride);
#pragma unroll
        for (int e = 0; e < kRun; ++e) {
            values[run * kRun + e] = pack.values[e];
        }
    }
}

// sums = left^T right of the thread's rows and columns.
template <int ROWS, int COLUMNS, typename SomeTile>
__device__ __forceinline__ void multiplyShared(const SomeTile& tile, int pass, int row, int column, int depth,
                                               float (&sums)[ROWS][COLUMNS]) {
    const float* left = tile.left + pass * tile.left_pass_step + row;
    const float* right = tile.right + pass * tile.right_pass_step + column / COLUMNS * 4;
#pragma unroll
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        sums[i / COLUMNS][i % COLUMNS] = 0.0f;
    }
#pragma unroll 2
    for (int j = 0; j < depth; ++j) {
        float l[ROWS], r[COLUMNS];
        loadShared<ROWS>(left + j * tile.left_stride, 4, l);
        loadShared<COLUMNS>(right + j * tile.right_stride, tile.right_run_stride, r);
#pragma unroll
        for (int i = 0; i < ROWS * COLUMNS; ++i) {
            sums[i / COLUMNS][i % COLUMNS] += l[i / COLUMNS] * r[i % COLUMNS];
        }
    }
}

// What the thread's columns have of their channels: one value if they are pixels. Beyond the edge the last stands in.
template <typename SomeTile, int COLUMNS>
__device__ __forceinline__ void loadOfChannels(const SomeTile& tile, const float* values, int step, int column,
                                               float (&out)[COLUMNS]) {
#pragma unroll
    for (int e = 0; e < COLUMNS; ++e) {
        if constexpr (SomeTile::kChannelsLast) {
            out[e] = values[static_cast<std::size_t>(min(column + e, tile.columns - 1)) * step];
        } else {
            out[e] = values[0];
        }
    }
}

// sums = the sum over passes of e idct(U) + m v.
template <typename SomeTile, int ROWS, int COLUMNS>
__device__ __forceinline__ void sumPasses(const InverseArguments& a, const SomeTile& tile, int row, int column,
                                          float (&sums)[ROWS][COLUMNS]) {
#pragma unroll
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        sums[i / COLUMNS][i % COLUMNS] = 0.0f;
    }
    for (int pass = 0; pass < a.passes; ++pass) {
        float back[ROWS][COLUMNS], means[COLUMNS];
        multiplyShared<ROWS, COLUMNS>(tile, pass, row, column, a.kw, back);
        loadOfChannels(tile, tile.means + pass * tile.mean_pass_step, a.token_stride, column, means);
        const float* gains = tile.gains + pass * tile.map_pass_step;
        const float* masses = tile.masses + pass * tile.map_pass_step;
#pragma unroll
        for (int i = 0; i < ROWS * COLUMNS; ++i) {
            const int at_row = min(row + i / COLUMNS, tile.rows - 1);
            const int at = min(column + i % COLUMNS, tile.columns - 1);
            const int pixel = SomeTile::kChannelsLast ? at_row : at_row * a.width + at;
            sums[i / COLUMNS][i % COLUMNS] +=
                back[i / COLUMNS][i % COLUMNS] * gains[pixel] + means[i % COLUMNS] * masses[pixel];
        }
    }
}

// y = x + update + shift for one row of the thread's; beyond `columns` 0.
template <typename SomeTile, typename T, int COLUMNS, int RUN>
__device__ __forceinline__ void addRow(const InverseArguments& a, const SomeTile& tile, int row, int column,
                                       const Pack<T, RUN> (&x)[COLUMNS / RUN], const float (&update)[COLUMNS],
                                       const float (&shift)[COLUMNS]) {
#pragma unroll
    for (int run = 0; run < COLUMNS / RUN; ++run) {
        const int at = column + run * RUN;
        if (at >= tile.stored_columns) {
            return;
        }
        Pack<T, RUN> y;
#pragma unroll
        for (int e = 0; e < RUN; ++e) {
            const float added = update[run * RUN + e] + a.shift_gain * shift[run * RUN + e];
            float value = toFloat(x[run].values[e]);
            if constexpr (sizeof(T) == 1) {
                value = (value * a.x_scale + added) * a.y_gain;
            } else {
                value += added;
            }
            y.values[e] = fromFloat<T>(at + e < tile.columns ? value : 0.0f);
        }
        storePack<RUN>(tile.y + row * tile.row_stride + at, y);
    }
}

// The whole tile by the whole block, each thread ROWS x COLUMNS at a time, moved in runs of RUN.
template <int ROWS, int COLUMNS, int RUN, bool WEIGHTED, typename SomeTile>
__device__ __forceinline__ void updateTile(const InverseArguments& a, const SomeTile& tile) {
    using T = typename SomeTile::Element;
    const int across = ceilDiv(tile.stored_columns, COLUMNS), down = ceilDiv(tile.rows, ROWS);
    for (int index = static_cast<int>(threadIdx.x); index < across * down; index += kInverseThreads) {
        const int row = index / across * ROWS, column = index % across * COLUMNS;
        Pack<T, RUN> x[ROWS][COLUMNS / RUN] = {};
#pragma unroll
        for (int i = 0; i < ROWS * (COLUMNS / RUN); ++i) {
            const int at_row = row + i / (COLUMNS / RUN), at = column + i % (COLUMNS / RUN) * RUN;
            if (at_row < tile.rows && at < tile.stored_columns) {
                x[i / (COLUMNS / RUN)][i % (COLUMNS / RUN)] = loadPack<RUN>(tile.x + at_row * tile.row_stride + at);
            }
        }
        float update[ROWS][COLUMNS], shift[COLUMNS];
        loadOfChannels(tile, tile.shift, 1, column, shift);
        if constexpr (WEIGHTED) {
            sumPasses<SomeTile, ROWS, COLUMNS>(a, tile, row, column, update);
        } else {
            multiplyShared<ROWS, COLUMNS>(tile, 0, row, column, a.kw, update);
        }
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            if (row + i < tile.rows) {
                addRow<SomeTile, T, COLUMNS, RUN>(a, tile, row + i, column, x[i], update[i], shift);
            }
        }
    }
}

}  // namespace edgefsa
