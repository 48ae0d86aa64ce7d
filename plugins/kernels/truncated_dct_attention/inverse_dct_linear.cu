// SPDX-License-Identifier: Apache-2.0
// Inverse DCT and residual of linear planes.

#include <algorithm>

#include "inverse_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kMostRows = 64;    // per block
constexpr int kRowMultiple = 8;  // what a thread takes at most
constexpr int kColumnMultiple = 16;

// Block (plane, block of rows, tile of columns).
template <typename T, int RUN, bool WEIGHTED>
__global__ void __launch_bounds__(kInverseThreads, WEIGHTED || RUN == 1 ? 1 : 2)
    inverseLinearKernel(const InverseArguments a) {
    constexpr int kColumns = 16 / static_cast<int>(sizeof(T));
    constexpr int kRows = (WEIGHTED ? 16 : 32) / kColumns;
    float* basis = dynamicShared<float>();        // [kw, tile_columns]
    float* sums = basis + a.kw * a.tile_columns;  // [passes, kw, rows_per_block]
    const std::size_t plane = blockIdx.x, planes = static_cast<std::size_t>(a.batch) * a.channels;
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    const int first_column = static_cast<int>(blockIdx.z) * a.tile_columns;
    const int rows = min(a.rows_per_block, a.height - first_row);
    const int columns = min(a.tile_columns, a.width - first_column);
    const std::size_t size = static_cast<std::size_t>(a.height) * a.width;
    const std::size_t pixel = static_cast<std::size_t>(first_row) * a.width + first_column;
    const T* x = static_cast<const T*>(a.x) + plane * size + pixel;
    prefetchForBlock(x, sizeof(T) * (static_cast<std::size_t>(rows - 1) * a.width + columns));
    stageColumns<kColumns>(a, first_column, basis);
    waitForEarlier();
    for (int index = static_cast<int>(threadIdx.x); index < a.passes * a.kw * a.rows_per_block;
         index += kInverseThreads) {
        const int row = index % a.rows_per_block, j = index / a.rows_per_block % a.kw;
        const std::size_t pass = index / a.rows_per_block / a.kw;
        const float* change = a.changes + (pass * planes + plane) * a.token_stride;
        sums[index] = row < rows ? inverseSum(a, change, j, first_row + row) : 0.0f;
    }
    __syncthreads();
    Tile<T, false> tile = {};
    tile.x = x;
    tile.y = static_cast<T*>(a.y) + plane * size + pixel;
    tile.row_stride = static_cast<std::size_t>(a.width);
    tile.rows = rows;
    tile.columns = tile.stored_columns = columns;
    tile.left = sums;
    tile.left_stride = a.rows_per_block;
    tile.left_pass_step = a.kw * a.rows_per_block;
    tile.right = basis;
    tile.right_stride = a.tile_columns;
    tile.right_run_stride = a.tile_columns / (kColumns / 4);
    tile.shift = a.shift + plane % a.channels;
    if constexpr (WEIGHTED) {
        const std::size_t map = plane / a.channels * size + pixel;
        tile.gains = a.gains + map;
        tile.masses = a.masses + map;
        tile.map_pass_step = size * a.batch;
        tile.means = a.changes + plane * a.token_stride + a.kh * a.kw;
        tile.mean_pass_step = planes * a.token_stride;
    }
    updateTile<kRows, kColumns, RUN, WEIGHTED>(a, tile);
}

template <typename T, int RUN>
cudaError_t launchRun(InverseArguments a, Chain& chain) noexcept {
    a.tile_columns =
        std::min(roundUp(a.width, kColumnMultiple), kInverseBasisFloats / a.kw / kColumnMultiple * kColumnMultiple);
    a.rows_per_block = std::min({kMostRows, roundUp(a.height, kRowMultiple),
                                 kInverseSumFloats / (a.passes * a.kw) / kRowMultiple * kRowMultiple});
    const dim3 grid(static_cast<unsigned>(a.batch * a.channels),
                    static_cast<unsigned>(ceilDiv(a.height, a.rows_per_block)),
                    static_cast<unsigned>(ceilDiv(a.width, a.tile_columns)));
    const std::size_t shared = sizeof(float) * a.kw * (a.tile_columns + a.passes * a.rows_per_block);
    const auto kernel = a.gains == nullptr ? inverseLinearKernel<T, RUN, false> : inverseLinearKernel<T, RUN, true>;
    return chain.launch(kernel, grid, dim3(kInverseThreads), shared, a);
}

template <typename T>
cudaError_t launchType(const InverseArguments& a, Chain& chain) noexcept {
    constexpr int kWhole = 16 / static_cast<int>(sizeof(T));
    const auto aligned = [&](int run) {
        return rowsAreAligned(a.x, sizeof(T), a.width, run) && rowsAreAligned(a.y, sizeof(T), a.width, run);
    };
    if (aligned(kWhole)) {
        return launchRun<T, kWhole>(a, chain);
    }
    if constexpr (kWhole > 4) {
        if (aligned(4)) {
            return launchRun<T, 4>(a, chain);
        }
    }
    return launchRun<T, 1>(a, chain);
}

}  // namespace

cudaError_t launchInverseLinear(InverseArguments a, DataType type, Chain& chain) noexcept {
    switch (type) {
        case DataType::kFloat:
            return launchType<float>(a, chain);
        case DataType::kHalf:
            return launchType<__half>(a, chain);
        default:
            return launchType<std::int8_t>(a, chain);
    }
}

}  // namespace edgefsa
