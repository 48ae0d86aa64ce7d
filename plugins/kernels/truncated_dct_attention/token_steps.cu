// SPDX-License-Identifier: Apache-2.0
#include "token_product.cuh"
#include "token_steps.cuh"

namespace edgefsa {
namespace {

// One block: the sums of each row of the bases and of its squares, then their outer products.
__global__ void __launch_bounds__(kTileThreads)
    basisSumsKernel(const TruncatedDctAttentionParams p, const TokenBuffers b) {
    __shared__ float sums[2][kMaxBasisRows], squares[2][kMaxBasisRows];
    letNextBegin();
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < p.kh + p.kw; row += kTileWarps) {
        const bool high = row < p.kh;
        const int index = high ? row : row - p.kh, length = high ? p.height : p.width;
        const float* values = (high ? p.basis_h : p.basis_w) + static_cast<std::size_t>(index) * length;
        float sum = 0.0f, square = 0.0f;
        for (int e = lane; e < length; e += kWarpSize) {
            sum += values[e];
            square += values[e] * values[e];
        }
        sum = warpSum(sum);
        square = warpSum(square);
        if (lane == 0) {
            sums[high ? 0 : 1][index] = sum;
            squares[high ? 0 : 1][index] = square;
        }
    }
    __syncthreads();
    waitForEarlier();
    for (int t = static_cast<int>(threadIdx.x); t < p.kh * p.kw; t += kTileThreads) {
        b.of_ones[t] = sums[0][t / p.kw] * sums[1][t % p.kw];
        b.gram_diagonal[t] = squares[0][t / p.kw] * squares[1][t % p.kw];
    }
}

// Block (tile of tokens, tile of rows: queries, then keys, then values; sample).
__global__ void __launch_bounds__(kTileThreads, 2)
    projectKernel(const TruncatedDctAttentionParams p, const float* tokens, const TokenBuffers b) {
    letNextBegin();
    const int query_tiles = ceilDiv(p.query_channels, kTileRows);
    const int stride = b.stride;
    int tile = static_cast<int>(blockIdx.y), rows = p.query_channels;
    const float *weight = p.query_weight, *bias = p.query_bias;
    float* out = b.queries;
    if (tile >= 2 * query_tiles) {
        weight = p.value_weight, bias = p.value_bias, out = b.values;
        tile -= 2 * query_tiles;
        rows = p.value_channels;
    } else if (tile >= query_tiles) {
        weight = p.key_weight, bias = p.key_bias, out = b.keys;
        tile -= query_tiles;
    }
    tokens += static_cast<std::size_t>(blockIdx.z) * p.channels * stride;
    out += static_cast<std::size_t>(blockIdx.z) * rows * stride;
    const int first_row = tile * kTileRows, first_column = static_cast<int>(blockIdx.x) * kTileColumns;
    const int count = p.kh * p.kw;
    const int tile_rows = min(kTileRows, rows - first_row);
    prefetchForBlock(weight + static_cast<std::size_t>(first_row) * p.channels, sizeof(float) * tile_rows * p.channels);
    waitForEarlier();
    float values[2];
    multiplyTile({weight, tokens, p.channels, stride, rows, count, p.channels}, first_row, first_column, values);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const Place place = placeOf(first_row, first_column, e);
        if (place.row < rows && place.column < count) {
            out[static_cast<std::size_t>(place.row) * stride + place.column] = values[e] + bias[place.row];
        }
    }
}

// Block (tile of tokens, tile of rows: of spread, then of affinity; sample).
__global__ void __launch_bounds__(kTileThreads)
    mixKernel(const TruncatedDctAttentionParams p, float gain, int spread_tiles, const TokenBuffers b) {
    letNextBegin();
    waitForEarlier();
    const int stride = b.stride, count = p.kh * p.kw;
    const bool spreads = static_cast<int>(blockIdx.y) < spread_tiles;
    const std::size_t sample = static_cast<std::size_t>(blockIdx.z) * stride;
    const int first_row = (static_cast<int>(blockIdx.y) - (spreads ? 0 : spread_tiles)) * kTileRows;
    const int first_column = static_cast<int>(blockIdx.x) * kTileColumns;
    const int rows = spreads ? p.channels : count;
    float* out = spreads ? b.spread + sample * p.channels : b.affinity + sample * count;
    float values[2];
    if (spreads) {
        multiplyTile({p.out_weight, b.values + sample * p.value_channels, p.value_channels, stride, rows, count,
                      p.value_channels},
                     first_row, first_column, values);
    } else {
        multiplyTile<true>({b.keys + sample * p.query_channels, b.queries + sample * p.query_channels, stride, stride,
                            rows, count, p.query_channels},
                           first_row, first_column, values);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const Place place = placeOf(first_row, first_column, e);
        if (place.row < rows && place.column < count) {
            out[static_cast<std::size_t>(place.row) * stride + place.column] = spreads ? values[e] : gain * values[e];
        }
    }
}

dim3 tileGrid(int columns, int row_tiles, int batch) noexcept {
    return dim3(static_cast<unsigned>(ceilDiv(columns, kTileColumns)), static_cast<unsigned>(row_tiles),
                static_cast<unsigned>(batch));
}

}  // namespace

cudaError_t launchBasisSums(const TruncatedDctAttentionParams& p, const TokenBuffers& b, Chain& chain) noexcept {
    return chain.launch(basisSumsKernel, dim3(1), dim3(kTileThreads), 0, p, b);
}

cudaError_t launchProject(const TruncatedDctAttentionParams& p, const float* tokens, const TokenBuffers& b,
                          Chain& chain) noexcept {
    const int tiles = 2 * ceilDiv(p.query_channels, kTileRows) + ceilDiv(p.value_channels, kTileRows);
    return chain.launch(projectKernel, tileGrid(p.kh * p.kw, tiles, p.batch), dim3(kTileThreads), 0, p, tokens, b);
}

cudaError_t launchMix(const TruncatedDctAttentionParams& p, float gain, const TokenBuffers& b, Chain& chain) noexcept {
    const int spread_tiles = isFolded(p) ? 0 : ceilDiv(p.channels, kTileRows);
    const dim3 grid = tileGrid(p.kh * p.kw, spread_tiles + ceilDiv(p.kh * p.kw, kTileRows), p.batch);
    return chain.launch(mixKernel, grid, dim3(kTileThreads), 0, p, gain, spread_tiles, b);
}

}  // namespace edgefsa
