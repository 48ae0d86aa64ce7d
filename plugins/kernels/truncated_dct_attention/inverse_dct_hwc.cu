// SPDX-License-Identifier: Apache-2.0
// Inverse DCT and residual of channels-last halves.

#include <algorithm>

#include "inverse_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kColumns = 8;        // channels that a thread takes at once
constexpr int kMostChannels = 64;  // per block
constexpr int kMostRows = 8;
constexpr int kWantedBlocks = 8;  // per multiprocessor
constexpr int kPixelMultiple = 8;
constexpr int kSumPadding = 4;  // with it the sums of 8 rows of basis_w for one channel lie in as many banks

// Puts basis_h^T change of one image row into sums [passes, kw, tile_channels + kSumPadding].
__device__ void stageSums(const InverseArguments& a, std::size_t sample, int first_channel, int row, float* sums) {
    const std::size_t planes = static_cast<std::size_t>(a.batch) * a.channels;
    for (int index = static_cast<int>(threadIdx.x); index < a.passes * a.kw * a.tile_channels;
         index += kInverseThreads) {
        // Neighbouring threads take neighbouring tokens of one channel.
        const int j = index % a.kw, channel = index / a.kw % a.tile_channels, pass = index / a.kw / a.tile_channels;
        float sum = 0.0f;
        if (first_channel + channel < a.channels) {
            const std::size_t plane = pass * planes + sample * a.channels + first_channel + channel;
            sum = inverseSum(a, a.changes + plane * a.token_stride, j, row);
        }
        const int place = placeOfColumn<kColumns>(channel, a.tile_channels);
        sums[(pass * a.kw + j) * (a.tile_channels + kSumPadding) + place] = sum;
    }
}

// Block (tile of channels, block of image rows, sample and tile of pixels).
template <bool WEIGHTED>
__global__ void __launch_bounds__(kInverseThreads, 2) inverseHwcKernel(const InverseArguments a) {
    float* basis = dynamicShared<float>();        // [kw, tile_columns]
    float* sums = basis + a.kw * a.tile_columns;  // [passes, kw, tile_channels + kSumPadding]
    const int pixel_tiles = ceilDiv(a.width, a.tile_columns), stored = roundUp(a.channels, kColumns);
    const std::size_t sample = blockIdx.z / pixel_tiles;
    const int first_column = static_cast<int>(blockIdx.z) % pixel_tiles * a.tile_columns;
    const int first_channel = static_cast<int>(blockIdx.x) * a.tile_channels;
    const std::size_t planes = static_cast<std::size_t>(a.batch) * a.channels;
    Tile<__half, true> tile = {};
    tile.row_stride = static_cast<std::size_t>(stored);
    tile.rows = min(a.tile_columns, a.width - first_column);
    tile.columns = min(a.tile_channels, a.channels - first_channel);
    tile.stored_columns = min(a.tile_channels, stored - first_channel);
    tile.left = basis;
    tile.left_stride = a.tile_columns;
    tile.right = sums;
    tile.right_stride = a.tile_channels + kSumPadding;
    tile.right_run_stride = a.tile_channels / (kColumns / 4);
    tile.right_pass_step = a.kw * tile.right_stride;
    tile.shift = a.shift + first_channel;
    tile.map_pass_step = static_cast<std::size_t>(a.batch) * a.height * a.width;
    tile.means = a.changes + (sample * a.channels + first_channel) * a.token_stride + a.kh * a.kw;
    tile.mean_pass_step = planes * a.token_stride;
    stageColumns<4>(a, first_column, basis);
    waitForEarlier();
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    for (int row = first_row; row < min(first_row + a.rows_per_block, a.height); ++row) {
        __syncthreads();
        stageSums(a, sample, first_channel, row, sums);
        __syncthreads();
        const std::size_t pixel = (sample * a.height + row) * a.width + first_column;
        tile.x = static_cast<const __half*>(a.x) + pixel * stored + first_channel;
        tile.y = static_cast<__half*>(a.y) + pixel * stored + first_channel;
        if constexpr (WEIGHTED) {
            tile.gains = a.gains + pixel;
            tile.masses = a.masses + pixel;
        }
        updateTile<WEIGHTED ? 2 : 4, kColumns, kColumns, WEIGHTED>(a, tile);
    }
}

}  // namespace

cudaError_t launchInverseHwc(InverseArguments a, Chain& chain) noexcept {
    a.tile_columns =
        std::min(roundUp(a.width, kPixelMultiple), kInverseBasisFloats / a.kw / kPixelMultiple * kPixelMultiple);
    a.tile_channels = kMostChannels;
    while (a.passes * a.kw * (a.tile_channels + kSumPadding) > kInverseSumFloats) {
        a.tile_channels /= 2;
    }
    const int channel_tiles = ceilDiv(a.channels, a.tile_channels), pixel_tiles = ceilDiv(a.width, a.tile_columns);
    Device device = {};
    const cudaError_t known = deviceInUse(&device);
    if (known != cudaSuccess) {
        return known;
    }
    const int wanted_blocks = kWantedBlocks * device.multiprocessors;
    const long long single_rows = static_cast<long long>(channel_tiles) * pixel_tiles * a.batch * a.height;
    a.rows_per_block = static_cast<int>(std::clamp<long long>(single_rows / wanted_blocks, 1, kMostRows));
    const dim3 grid(static_cast<unsigned>(channel_tiles), static_cast<unsigned>(ceilDiv(a.height, a.rows_per_block)),
                    static_cast<unsigned>(a.batch * pixel_tiles));
    const std::size_t shared = sizeof(float) * a.kw * (a.tile_columns + a.passes * (a.tile_channels + kSumPadding));
    const auto kernel = a.gains == nullptr ? inverseHwcKernel<false> : inverseHwcKernel<true>;
    return chain.launch(kernel, grid, dim3(kInverseThreads), shared, a);
}

}  // namespace edgefsa
