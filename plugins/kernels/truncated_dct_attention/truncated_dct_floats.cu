// SPDX-License-Identifier: Apache-2.0
// Truncated DCT of linear floats: a warp takes a few rows of x, each lane every 32nd group of 4 columns.

#include <algorithm>

#include "truncated_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kLoaded = 4;  // columns that a lane loads at once
constexpr int kSpan = kLoaded * kWarpSize;

// Rows of x that a warp takes at once: its lanes hold a sum for each, and for each row of basis_w.
template <int PADDED>
constexpr int kRows = PADDED <= 16 ? 4 : 2;

// Puts columns [first, first + columns) of basis_w into staged [PADDED, columns]; 0 beyond its edges.
template <int PADDED>
__device__ void stageBasis(const DctArguments& a, int first, int columns, float* staged) {
    for (int index = static_cast<int>(threadIdx.x); index < PADDED * columns; index += static_cast<int>(blockDim.x)) {
        const int j = index / columns, column = first + index % columns;
        const bool inside = j < a.kw && column < a.width;
        staged[index] = inside ? a.basis_w[static_cast<std::size_t>(j) * a.width + column] : 0.0f;
    }
}

template <int RUN>
__device__ __forceinline__ void loadColumns(const float* row, int column, int width, float (&values)[kLoaded]) {
#pragma unroll
    for (int run = 0; run < kLoaded / RUN; ++run) {
        Pack<float, RUN> pack = {};
        if (column + run * RUN < width) {
            pack = loadPack<RUN>(row + column + run * RUN);
        }
#pragma unroll
        for (int e = 0; e < RUN; ++e) {
            values[run * RUN + e] = pack.values[e];
        }
    }
}

// sums[row, j] += the lane's columns of the warp's rows, of the staged columns only. A row below the block's last is
// read in its place, and its sums are not kept.
template <int PADDED, int RUN>
__device__ __forceinline__ void accumulateRows(float (&sums)[kRows<PADDED> * PADDED], const float* plane, int first_row,
                                               int last_row, int width, int first, int columns, const float* staged) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int column = lane * kLoaded; column < columns; column += kSpan) {
        float x[kRows<PADDED>][kLoaded];
#pragma unroll
        for (int row = 0; row < kRows<PADDED>; ++row) {
            const float* start = plane + static_cast<std::size_t>(min(first_row + row, last_row)) * width;
            loadColumns<RUN>(start, first + column, width, x[row]);
        }
#pragma unroll
        for (int j = 0; j < PADDED; ++j) {
            const Pack<float, kLoaded> basis = loadPack<kLoaded>(staged + j * columns + column);
#pragma unroll
            for (int i = 0; i < kRows<PADDED> * kLoaded; ++i) {
                sums[i / kLoaded * PADDED + j] += x[i / kLoaded][i % kLoaded] * basis.values[i % kLoaded];
            }
        }
    }
}

// Adds up each value over the warp; lane l is left with COUNT / 32 of them in front, from l COUNT / 32 on.
template <int COUNT, int DISTANCE = kWarpSize / 2>
__device__ __forceinline__ void sumAcrossWarp(float (&values)[COUNT]) {
    constexpr int kKept = COUNT / kWarpSize * DISTANCE;
    const bool upper = (threadIdx.x & DISTANCE) != 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
        const float kept = upper ? values[i + kKept] : values[i];
        const float given = upper ? values[i] : values[i + kKept];
        values[i] = kept + __shfl_xor_sync(kWholeWarp, given, DISTANCE);
    }
    if constexpr (DISTANCE > 1) {
        sumAcrossWarp<COUNT, DISTANCE / 2>(values);
    }
}

// Block (plane, split).
template <int PADDED, int RUN>
__global__ void __launch_bounds__(kDctWarps* kWarpSize, RUN == 1 ? 1 : 2) dctFloatsKernel(const DctArguments a) {
    constexpr int kSums = kRows<PADDED> * PADDED;
    constexpr int kStagedColumns = kDctStagedBytes / (PADDED * static_cast<int>(sizeof(float)));
    float* staged = dynamicShared<float>();
    const int padded_width = roundUp(a.width, kSpan);
    float* block_sums = staged + PADDED * min(padded_width, kStagedColumns);
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    const int rows = min(a.rows_per_block, a.height - first_row);
    const float* plane =
        static_cast<const float*>(a.x) + (static_cast<std::size_t>(blockIdx.x) * a.height + first_row) * a.width;
    prefetchForBlock(plane, sizeof(float) * rows * a.width);
    letNextBegin();
    for (int first = 0; first < rows; first += kDctWarps * kRows<PADDED>) {
        const int warp_first = first + warp * kRows<PADDED>;
        float sums[kSums] = {};
        for (int column = 0; column < padded_width; column += kStagedColumns) {
            const int columns = min(kStagedColumns, padded_width - column);
            if (first == 0 || padded_width > kStagedColumns) {
                __syncthreads();
                stageBasis<PADDED>(a, column, columns, staged);
                __syncthreads();
            }
            if (warp_first < rows) {
                accumulateRows<PADDED, RUN>(sums, plane, warp_first, rows - 1, a.width, column, columns, staged);
            }
        }
        sumAcrossWarp(sums);
#pragma unroll
        for (int e = 0; e < kSums / kWarpSize; ++e) {
            const int index = lane * (kSums / kWarpSize) + e;
            if (warp_first + index / PADDED < rows) {
                block_sums[(warp_first + index / PADDED) * sumStride(PADDED) + index % PADDED] = sums[e];
            }
        }
    }
    __syncthreads();
    const std::size_t out = (static_cast<std::size_t>(blockIdx.x) * a.splits + blockIdx.y) * a.token_stride;
    contractRows(a, block_sums, sumStride(PADDED), first_row, rows, 1.0f, a.sums + out);
}

template <int PADDED, int RUN>
cudaError_t launchRun(const DctArguments& a, int planes, Chain& chain) noexcept {
    const std::size_t staged = std::min<std::size_t>(kDctStagedBytes, sizeof(float) * PADDED * roundUp(a.width, kSpan));
    const std::size_t sums = sizeof(float) * sumStride(PADDED) * std::min(a.rows_per_block, a.height);
    const dim3 grid(static_cast<unsigned>(planes), static_cast<unsigned>(a.splits));
    return chain.launch(dctFloatsKernel<PADDED, RUN>, grid, kDctWarps * kWarpSize, staged + sums, a);
}

}  // namespace

cudaError_t launchDctFloats(const DctArguments& a, int planes, Chain& chain) noexcept {
    const bool aligned = rowsAreAligned(a.x, sizeof(float), a.width, kLoaded);
    return launchForKw(a.kw, [&](auto padded) {
        constexpr int kPadded = decltype(padded)::value;
        return aligned ? launchRun<kPadded, kLoaded>(a, planes, chain) : launchRun<kPadded, 1>(a, planes, chain);
    });
}

}  // namespace edgefsa
