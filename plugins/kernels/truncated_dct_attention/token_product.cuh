// SPDX-License-Identifier: Apache-2.0
// The product of two small matrices by which every step among the tokens is made.
#pragma once

#include "../common.cuh"

namespace edgefsa {

constexpr int kTileRows = 16;
constexpr int kTileColumns = 32;
constexpr int kTileThreads = 256;
constexpr int kTileWarps = kTileThreads / kWarpSize;
constexpr int kTileValues = kTileRows * kTileColumns;

// left [rows, depth] right [depth, columns]. right_stride is a multiple of 4 and `right` 16-byte aligned; left is given
// as [depth, left_stride] where kTransposed, and then the same holds for it.
struct Product {
    const float* left;
    const float* right;
    int left_stride;
    int right_stride;
    int rows;
    int columns;
    int depth;
};

namespace detail {

// left's rows row to row + 3, depths k to k + 3, as values[row][k]; 0 beyond the depth. Rows beyond the last are it.
template <bool TRANSPOSED>
__device__ __forceinline__ void loadLeft(const Product& p, bool whole, int row, int k, float (&values)[4][4]) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        Pack<float, 4> pack = {};
        if constexpr (TRANSPOSED) {
            if (k + e < p.depth) {
                pack = loadPack<4>(p.left + static_cast<std::size_t>(k + e) * p.left_stride + row);
            }
        } else {
            const float* start = p.left + static_cast<std::size_t>(min(row + e, p.rows - 1)) * p.left_stride + k;
            if (whole) {
                pack = loadPack<4>(start);
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    pack.values[i] = k + i < p.depth ? start[i] : 0.0f;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            (TRANSPOSED ? values[i][e] : values[e][i]) = pack.values[i];
        }
    }
}

}  // namespace detail

// One block's tile of the product, 16 x 32 from (row, column) on: thread t is left with the values of the tile's
// elements t and t + 256, row-major. Those beyond the product's edges have no meaning. kTileThreads threads.
template <bool TRANSPOSED = false>
__device__ __forceinline__ void multiplyTile(const Product& p, int first_row, int first_column, float (&out)[2]) {
    __shared__ float parts[kTileWarps][kTileValues];
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int tile_row = lane / 8 * 4, tile_column = lane % 8 * 4;
    const int row = TRANSPOSED ? min(first_row + tile_row, p.left_stride - 4) : first_row + tile_row;
    const int column = min(first_column + tile_column, p.right_stride - 4);
    const bool aligned = p.left_stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(p.left) % 16 == 0;
    float sums[4][4] = {};
#pragma unroll 2
    for (int k = warp * 4; k < p.depth; k += kTileWarps * 4) {
        float left[4][4];
        detail::loadLeft<TRANSPOSED>(p, aligned && k + 4 <= p.depth, row, k, left);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            Pack<float, 4> right = {};
            if (k + e < p.depth) {
                right = loadPack<4>(p.right + static_cast<std::size_t>(k + e) * p.right_stride + column);
            }
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                sums[i / 4][i % 4] += left[i / 4][e] * right.values[i % 4];
            }
        }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        const Pack<float, 4> pack = {{sums[e][0], sums[e][1], sums[e][2], sums[e][3]}};
        storePack(&parts[warp][(tile_row + e) * kTileColumns + tile_column], pack);
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        out[e] = 0.0f;
#pragma unroll
        for (int part = 0; part < kTileWarps; ++part) {
            out[e] += parts[part][threadIdx.x + e * kTileThreads];
        }
    }
}

// Where element e of the thread's two lies in the product.
struct Place {
    int row;
    int column;
};
__device__ __forceinline__ Place placeOf(int first_row, int first_column, int e) {
    const int index = static_cast<int>(threadIdx.x) + e * kTileThreads;
    return {first_row + index / kTileColumns, first_column + index % kTileColumns};
}

}  // namespace edgefsa
