// Truncated DCT of linear floats: a warp takes a few rows of x, each lane every 32nd group of 4 columns.

#include <algorithm>

#include "truncated_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kLoaded = 4;  // columns that a lane loads at once
constexpr int kSums = 64;   // that a lane holds: rows of x by rows of basis_w
constexpr int kSpan = kLoaded * kWarpSize;

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

// sums[row, j] += the lane's columns of the warp's rows, of the staged columns only.
template <int PADDED, int RUN>
__device__ __forceinline__ void accumulateRows(float (&sums)[kSums], const float* const (&rows)[kSums / PADDED],
                                               int width, int first, int columns, const float* staged) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int column = lane * kLoaded; column < columns; column += kSpan) {
        float x[kSums / PADDED][kLoaded];
#pragma unroll
        for (int row = 0; row < kSums / PADDED; ++row) {
            loadColumns<RUN>(rows[row], first + column, width, x[row]);
        }
#pragma unroll
        for (int j = 0; j < PADDED; ++j) {
            const Pack<float, kLoaded> basis = loadPack<kLoaded>(staged + j * columns + column);
#pragma unroll
            for (int row = 0; row < kSums / PADDED; ++row) {
#pragma unroll
                for (int e = 0; e < kLoaded; ++e) {
                    sums[row * PADDED + j] += x[row][e] * basis.values[e];
                }
            }
        }
    }
}

// Adds up each of the 64 values over the warp; lane l is left with values 2 l and 2 l + 1, in front.
template <int DISTANCE = kWarpSize / 2>
__device__ __forceinline__ void sumAcrossWarp(float (&values)[kSums]) {
    const bool upper = (threadIdx.x & DISTANCE) != 0;
#pragma unroll
    for (int i = 0; i < 2 * DISTANCE; ++i) {
        const float kept = upper ? values[i + 2 * DISTANCE] : values[i];
        const float given = upper ? values[i] : values[i + 2 * DISTANCE];
        values[i] = kept + __shfl_xor_sync(kWholeWarp, given, DISTANCE);
    }
    if constexpr (DISTANCE > 1) {
        sumAcrossWarp<DISTANCE / 2>(values);
    }
}

// Block (plane, split).
template <int PADDED, int RUN>
__global__ void __launch_bounds__(kDctWarps* kWarpSize, RUN == 1 ? 1 : 2) dctFloatsKernel(const DctArguments a) {
    constexpr int kRows = kSums / PADDED;
    constexpr int kStagedColumns = kDctStagedBytes / (PADDED * static_cast<int>(sizeof(float)));
    float* staged = dynamicShared<float>();
    const int padded_width = roundUp(a.width, kSpan);
    float* block_sums = staged + PADDED * min(padded_width, kStagedColumns);
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    const int rows = min(a.rows_per_block, a.height - first_row);
    const float* plane =
        static_cast<const float*>(a.x) + (static_cast<std::size_t>(blockIdx.x) * a.height + first_row) * a.width;
    for (int first = 0; first < rows; first += kDctWarps * kRows) {
        const int warp_first = first + warp * kRows;
        const float* row_starts[kRows];
#pragma unroll
        for (int row = 0; row < kRows; ++row) {
            // A row below the block's last is read in its place, and its sums are not kept.
            row_starts[row] = plane + static_cast<std::size_t>(min(warp_first + row, rows - 1)) * a.width;
        }
        float sums[kSums] = {};
        for (int column = 0; column < padded_width; column += kStagedColumns) {
            const int columns = min(kStagedColumns, padded_width - column);
            if (first == 0 || padded_width > kStagedColumns) {
                __syncthreads();
                stageBasis<PADDED>(a, column, columns, staged);
                __syncthreads();
            }
            if (warp_first < rows) {
                accumulateRows<PADDED, RUN>(sums, row_starts, a.width, column, columns, staged);
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
cudaError_t launchRun(const DctArguments& a, int planes, cudaStream_t stream) noexcept {
    const std::size_t staged = std::min<std::size_t>(kDctStagedBytes, sizeof(float) * PADDED * roundUp(a.width, kSpan));
    const std::size_t sums = sizeof(float) * sumStride(PADDED) * std::min(a.rows_per_block, a.height);
    const dim3 grid(static_cast<unsigned>(planes), static_cast<unsigned>(a.splits));
    return launchKernel(dctFloatsKernel<PADDED, RUN>, grid, kDctWarps * kWarpSize, staged + sums, stream, a);
}

}  // namespace

cudaError_t launchDctFloats(const DctArguments& a, int planes, cudaStream_t stream) noexcept {
    const bool aligned = rowsAreAligned(a.x, sizeof(float), a.width, kLoaded);
    return launchForKw(a.kw, [&](auto padded) {
        constexpr int kPadded = decltype(padded)::value;
        return aligned ? launchRun<kPadded, kLoaded>(a, planes, stream) : launchRun<kPadded, 1>(a, planes, stream);
    });
}

}  // namespace edgefsa
