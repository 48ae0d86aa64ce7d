// SPDX-License-Identifier: Apache-2.0
// Truncated DCT of channels-last halves: a warp takes a row of pixels, or its part of one, and 64 channels to tensor
// cores.

#include <algorithm>

#include "dct_fragments.cuh"

namespace edgefsa {
namespace {

constexpr int kLoadedPixels = 4;    // by one lane in one step
constexpr int kLoadedChannels = 8;  // of each
constexpr int kChannelPairs = kLoadedChannels / 2;

// The lane's 8 channels of 4 pixels, as words [pixel][pair of channels]; 0 beyond the row of pixels or the channels.
__device__ __forceinline__ void loadPixels(const __half* row, int pixel, int width, int stored, bool has_channels,
                                           uint4 (&pixels)[kLoadedPixels]) {
#pragma unroll
    for (int e = 0; e < kLoadedPixels; ++e) {
        pixels[e] = make_uint4(0, 0, 0, 0);
        if (has_channels && pixel + e < width) {
            pixels[e] = *reinterpret_cast<const uint4*>(row + static_cast<std::size_t>(pixel + e) * stored);
        }
    }
}

// Asks the L2 cache for the 64 channels of the first 32 pixels that a warp reads, while it stages the basis.
__device__ __forceinline__ void prefetchPixels([[maybe_unused]] const __half* row, [[maybe_unused]] int first_step,
                                               [[maybe_unused]] int width, [[maybe_unused]] int stored) {
#ifdef __CUDA_ARCH__
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, pixel = first_step * 4 * kLoadedPixels + lane;
    if (pixel < width) {
        asm volatile("prefetch.L2 [%0];" ::"l"(row + static_cast<std::size_t>(pixel) * stored));
    }
#endif
}

__device__ __forceinline__ unsigned lowHalves(unsigned a, unsigned b) { return (a & 0xffffu) | b << 16; }
__device__ __forceinline__ unsigned highHalves(unsigned a, unsigned b) { return a >> 16 | (b & 0xffff0000u); }

// sums[pair] [16, 8 TILES]: rows g and g + 8 are the channels 2 pair and 2 pair + 1 of the 8 of lanes 4 g to 4 g + 3.
template <int TILES>
__device__ __forceinline__ void accumulatePixels(float (&sums)[kChannelPairs][TILES][4], const __half* row, int width,
                                                 int stored, bool has_channels, int first_step, int steps,
                                                 const Fragment* fragments) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll 2
    for (int step = 0; step < steps; ++step) {
        uint4 pixels[kLoadedPixels];
        loadPixels(row, stepColumn<kLoadedPixels>(first_step + step, lane % 4), width, stored, has_channels, pixels);
        const unsigned words[kLoadedPixels][kChannelPairs] = {{pixels[0].x, pixels[0].y, pixels[0].z, pixels[0].w},
                                                              {pixels[1].x, pixels[1].y, pixels[1].z, pixels[1].w},
                                                              {pixels[2].x, pixels[2].y, pixels[2].z, pixels[2].w},
                                                              {pixels[3].x, pixels[3].y, pixels[3].z, pixels[3].w}};
#pragma unroll
        for (int pair = 0; pair < kChannelPairs; ++pair) {
            const unsigned rows[4] = {
                lowHalves(words[0][pair], words[1][pair]), highHalves(words[0][pair], words[1][pair]),
                lowHalves(words[2][pair], words[3][pair]), highHalves(words[2][pair], words[3][pair])};
            accumulateStep<TILES>(sums[pair], rows, fragments + step * TILES * kWarpSize, lane);
        }
    }
}

// Into [channels, sumStride] of one warp.
template <int TILES>
__device__ __forceinline__ void storeSums(const float (&sums)[kChannelPairs][TILES][4], float* warp_sums) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int pair = 0; pair < kChannelPairs; ++pair) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int channel = lane / 4 * kLoadedChannels + 2 * pair + e / 2;
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                warp_sums[channel * sumStride(8 * TILES) + tile * 8 + lane % 4 * 2 + e % 2] = sums[pair][tile][e];
            }
        }
    }
}

// out[channel, token] from sums [rows, warps_per_row][64 channels, sumStride]; neighbouring threads take neighbouring
// tokens.
__device__ void contractChannels(const DctArguments& a, const float* sums, int stride, int first_row, int rows,
                                 int first_channel, std::size_t sample) {
    const int channels = min(kDctChannels, a.channels - first_channel);
    for (int index = static_cast<int>(threadIdx.x); index < channels * a.token_stride;
         index += static_cast<int>(blockDim.x)) {
        const int channel = index / a.token_stride, token = index % a.token_stride;
        const int i = token / a.kw, j = token % a.kw;
        float found = 0.0f;
        if (i < a.kh) {
            const float* basis = a.basis_h + static_cast<std::size_t>(i) * a.height + first_row;
            for (int row = 0; row < rows; ++row) {
                float sum = 0.0f;
                for (int part = 0; part < a.warps_per_row; ++part) {
                    sum += sums[((row * a.warps_per_row + part) * kDctChannels + channel) * stride + j];
                }
                found += basis[row] * sum;
            }
        }
        const std::size_t plane = sample * a.channels + first_channel + channel;
        a.sums[(plane * a.splits + blockIdx.y) * a.token_stride + token] = found;
    }
}

// Block (64 channels, split, sample); warps_per_row warps per row of pixels.
template <int TILES>
__global__ void __launch_bounds__(kDctWarps* kWarpSize, TILES == 4 ? 1 : 2) dctHwcKernel(const DctArguments a) {
    constexpr int kStagedSteps = kDctHwcStagedBytes / (kFragmentBytes * TILES);
    Fragment* fragments = dynamicShared<Fragment>();
    letNextBegin();
    const int steps = ceilDiv(a.width, 4 * kLoadedPixels);
    float* block_sums = reinterpret_cast<float*>(fragments + min(steps, kStagedSteps) * TILES * kWarpSize);
    const int stored = roundUp(a.channels, kLoadedChannels);
    const int first_channel = static_cast<int>(blockIdx.x) * kDctChannels;
    const int lane_channel = first_channel + static_cast<int>(threadIdx.x) % kWarpSize / 4 * kLoadedChannels;
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    const int rows = min(a.rows_per_block, a.height - first_row);
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int row = warp / a.warps_per_row, part = warp % a.warps_per_row;
    const std::size_t pixel_row = static_cast<std::size_t>(blockIdx.z) * a.height + first_row + min(row, rows - 1);
    const __half* pixels = static_cast<const __half*>(a.x) + pixel_row * a.width * stored;
    prefetchPixels(pixels + first_channel, min(steps, kStagedSteps) * part / a.warps_per_row, a.width, stored);
    float sums[kChannelPairs][TILES][4] = {};
    for (int step = 0; step < steps; step += kStagedSteps) {
        const int staged = min(kStagedSteps, steps - step);
        __syncthreads();
        stageFragments<kLoadedPixels, TILES>(a, step, staged, fragments);
        __syncthreads();
        const int begin = staged * part / a.warps_per_row, end = staged * (part + 1) / a.warps_per_row;
        accumulatePixels<TILES>(sums, pixels + lane_channel, a.width, stored, row < rows && lane_channel < stored,
                                step + begin, end - begin, fragments + begin * TILES * kWarpSize);
    }
    storeSums<TILES>(sums, block_sums + warp * kDctChannels * sumStride(8 * TILES));
    __syncthreads();
    contractChannels(a, block_sums, sumStride(8 * TILES), first_row, rows, first_channel, blockIdx.z);
}

}  // namespace

cudaError_t launchDctHwc(const DctArguments& a, int batch, Chain& chain) noexcept {
    return launchForKw(a.kw, [&](auto padded) {
        constexpr int kPadded = decltype(padded)::value;
        const int fragment_bytes = kFragmentBytes * kPadded / 8 * ceilDiv(a.width, 4 * kLoadedPixels);
        const std::size_t staged = static_cast<std::size_t>(std::min(kDctHwcStagedBytes, fragment_bytes));
        const int warps = a.rows_per_block * a.warps_per_row;
        const std::size_t sums = sizeof(float) * sumStride(kPadded) * kDctChannels * warps;
        const dim3 grid(static_cast<unsigned>(ceilDiv(a.channels, kDctChannels)), static_cast<unsigned>(a.splits),
                        static_cast<unsigned>(batch));
        return chain.launch(dctHwcKernel<kPadded / 8>, grid, warps * kWarpSize, staged + sums, a);
    });
}

}  // namespace edgefsa
