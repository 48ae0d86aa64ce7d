// SPDX-License-Identifier: Apache-2.0
#include "../common.cuh"
#include "pixel_maps.cuh"
#include "truncated_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kThreads = 256;
constexpr int kNormChannels = 64;  // at a time
constexpr float kNormFloor = 1e-12f;

// Block (256 pixels, image row, sample of queries, then of keys).
template <int PADDED>
__global__ void __launch_bounds__(kThreads, 2)
    inverseNormsKernel(const TruncatedDctAttentionParams p, const TokenBuffers t, float* inverse_norms) {
    __shared__ float sums[kNormChannels][PADDED];
    letNextBegin();
    const int row = static_cast<int>(blockIdx.y), width = p.width;
    const int pixel = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    const int sample = static_cast<int>(blockIdx.z) % p.batch;
    const float* tokens = static_cast<int>(blockIdx.z) < p.batch ? t.queries : t.keys;
    tokens += static_cast<std::size_t>(sample) * p.query_channels * t.stride;
    float basis[PADDED];
#pragma unroll
    for (int j = 0; j < PADDED; ++j) {
        basis[j] = j < p.kw && pixel < width ? p.basis_w[static_cast<std::size_t>(j) * width + pixel] : 0.0f;
    }
    waitForEarlier();
    float square = 0.0f;
    for (int first = 0; first < p.query_channels; first += kNormChannels) {
        const int channels = min(kNormChannels, p.query_channels - first);
        __syncthreads();
        for (int index = static_cast<int>(threadIdx.x); index < channels * PADDED; index += kThreads) {
            const int channel = index / PADDED, j = index % PADDED;
            float sum = 0.0f;
            for (int i = 0; j < p.kw && i < p.kh; ++i) {
                sum += tokens[static_cast<std::size_t>(first + channel) * t.stride + i * p.kw + j] *
                       p.basis_h[static_cast<std::size_t>(i) * p.height + row];
            }
            sums[channel][j] = sum;
        }
        __syncthreads();
        for (int channel = 0; channel < channels; ++channel) {
            float value = 0.0f;
#pragma unroll
            for (int j = 0; j < PADDED; ++j) {
                value += sums[channel][j] * basis[j];
            }
            square += value * value;
        }
    }
    if (pixel < width) {
        inverse_norms[(static_cast<std::size_t>(blockIdx.z) * p.height + row) * width + pixel] =
            1.0f / (sqrtf(square) + kNormFloor);
    }
}

// Block (image row, sample); a warp per product.
__global__ void __launch_bounds__(kThreads)
    pairsKernel(const TruncatedDctAttentionParams p, const float* weight, const float* map, const MapBuffers b) {
    letNextBegin();
    waitForEarlier();
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, pairs = p.kw * p.kw;
    const std::size_t row = static_cast<std::size_t>(blockIdx.y) * p.height + blockIdx.x;
    for (int task = static_cast<int>(threadIdx.x) / kWarpSize; task < pairs + p.kw; task += kThreads / kWarpSize) {
        const bool is_pair = task < pairs;
        const float* values = (is_pair ? weight : map) + row * p.width;
        const float* first = p.basis_w + static_cast<std::size_t>(is_pair ? task / p.kw : task - pairs) * p.width;
        const float* second = p.basis_w + static_cast<std::size_t>(task % p.kw) * p.width;
        float sum = 0.0f;
        for (int pixel = lane; pixel < p.width; pixel += kWarpSize) {
            sum += values[pixel] * first[pixel] * (is_pair ? second[pixel] : 1.0f);
        }
        sum = warpSum(sum);
        if (lane == 0) {
            (is_pair ? b.pairs[row * pairs + task] : b.singles[row * p.kw + task - pairs]) = sum;
        }
    }
}

// A thread per element of gram [T + 1, T]; block (256 elements, sample).
__global__ void __launch_bounds__(kThreads)
    gramKernel(const TruncatedDctAttentionParams p, const MapBuffers b, int token_stride) {
    letNextBegin();
    waitForEarlier();
    const int count = p.kh * p.kw, pairs = p.kw * p.kw;
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int row = index / count, column = index % count;
    if (row > count) {
        return;
    }
    const std::size_t sample = blockIdx.y, first = sample * p.height;
    const float* right = p.basis_h + static_cast<std::size_t>(column / p.kw) * p.height;
    float sum = 0.0f;
    if (row < count) {
        const float* left = p.basis_h + static_cast<std::size_t>(row / p.kw) * p.height;
        const float* sums = b.pairs + first * pairs + row % p.kw * p.kw + column % p.kw;
#pragma unroll 8
        for (int h = 0; h < p.height; ++h) {
            sum += left[h] * right[h] * sums[static_cast<std::size_t>(h) * pairs];
        }
    } else {
        const float* sums = b.singles + first * p.kw + column % p.kw;
#pragma unroll 8
        for (int h = 0; h < p.height; ++h) {
            sum += right[h] * sums[static_cast<std::size_t>(h) * p.kw];
        }
    }
    b.gram[(sample * (count + 1) + row) * token_stride + column] = sum;
}

// Block (image row, sample).
__global__ void __launch_bounds__(kThreads) gainsKernel(const TruncatedDctAttentionParams p, const MapBuffers b,
                                                        int token_stride, float* gains, float* masses) {
    __shared__ float sums[kMaxBasisRows];
    letNextBegin();
    waitForEarlier();
    const int count = p.kh * p.kw, row = static_cast<int>(blockIdx.x);
    const std::size_t sample = blockIdx.y, start = (sample * p.height + row) * p.width;
    const float* tokens = b.weighted + (sample * (count + 1) + count) * token_stride;
    if (static_cast<int>(threadIdx.x) < p.kw) {
        float sum = 0.0f;
        for (int i = 0; i < p.kh; ++i) {
            sum += tokens[i * p.kw + threadIdx.x] * p.basis_h[static_cast<std::size_t>(i) * p.height + row];
        }
        sums[threadIdx.x] = sum;
    }
    __syncthreads();
    for (int pixel = static_cast<int>(threadIdx.x); pixel < p.width; pixel += kThreads) {
        float mass = 0.0f;
        for (int j = 0; j < p.kw; ++j) {
            mass += sums[j] * p.basis_w[static_cast<std::size_t>(j) * p.width + pixel];
        }
        const float inverse_query = b.inverse_norms[start + pixel];
        const float inverse_mass = p.scale / (1.0f + p.scale * inverse_query * mass);
        masses[start + pixel] = inverse_mass;
        gains[start + pixel] = inverse_query * inverse_mass;
    }
}

dim3 rowGrid(const TruncatedDctAttentionParams& p) noexcept {
    return dim3(static_cast<unsigned>(p.height), static_cast<unsigned>(p.batch));
}

}  // namespace

cudaError_t launchInverseNorms(const TruncatedDctAttentionParams& p, const TokenBuffers& t, const MapBuffers& b,
                               Chain& chain) noexcept {
    const dim3 grid(static_cast<unsigned>(ceilDiv(p.width, kThreads)), static_cast<unsigned>(p.height),
                    2 * static_cast<unsigned>(p.batch));
    return launchForKw(p.kw, [&](auto padded) {
        return chain.launch(inverseNormsKernel<decltype(padded)::value>, grid, dim3(kThreads), 0, p, t,
                            b.inverse_norms);
    });
}

cudaError_t launchGram(const TruncatedDctAttentionParams& p, const float* weight, const float* map, const MapBuffers& b,
                       int token_stride, Chain& chain) noexcept {
    const cudaError_t status = chain.launch(pairsKernel, rowGrid(p), dim3(kThreads), 0, p, weight, map, b);
    if (status != cudaSuccess) {
        return status;
    }
    const int count = p.kh * p.kw;
    const dim3 grid(static_cast<unsigned>(ceilDiv((count + 1) * count, kThreads)), static_cast<unsigned>(p.batch));
    return chain.launch(gramKernel, grid, dim3(kThreads), 0, p, b, token_stride);
}

cudaError_t launchGains(const TruncatedDctAttentionParams& p, const MapBuffers& b, int token_stride, float* gains,
                        float* masses, Chain& chain) noexcept {
    return chain.launch(gainsKernel, rowGrid(p), dim3(kThreads), 0, p, b, token_stride, gains, masses);
}

}  // namespace edgefsa
