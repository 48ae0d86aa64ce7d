// SPDX-License-Identifier: Apache-2.0
// Truncated DCT of linear halves or bytes: a warp takes 16 rows of x to tensor cores as they lie in memory.

#include <algorithm>

#include "dct_fragments.cuh"

namespace edgefsa {
namespace {

constexpr int kRows = 16;  // of x per warp

// COUNT neighbouring elements as words; RUN of them are moved at once. Beyond the row's end they are 0.
template <typename T, int COUNT, int RUN>
__device__ __forceinline__ void loadWords(const T* row, int column, int width,
                                          unsigned (&words)[COUNT * sizeof(T) / 4]) {
    constexpr int kRunWords = RUN * static_cast<int>(sizeof(T)) / 4;
    if constexpr (kRunWords > 0) {
#pragma unroll
        for (int run = 0; run < COUNT / RUN; ++run) {
            Pack<unsigned, kRunWords> pack = {};
            if (column + run * RUN < width) {
                pack = loadPack<kRunWords>(reinterpret_cast<const unsigned*>(row + column + run * RUN));
            }
#pragma unroll
            for (int word = 0; word < kRunWords; ++word) {
                words[run * kRunWords + word] = pack.values[word];
            }
        }
    } else {
        constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
        using Bits = std::conditional_t<sizeof(T) == 2, std::uint16_t, std::uint8_t>;
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            const bool inside = column + e < width;
            const unsigned bits = inside ? reinterpret_cast<const Bits*>(row)[column + e] : 0u;
            const unsigned placed = bits << (e % kPerWord * 8 * static_cast<int>(sizeof(T)));
            words[e / kPerWord] = e % kPerWord == 0 ? placed : words[e / kPerWord] | placed;
        }
    }
}

__device__ __forceinline__ void toHalfPairs(const unsigned (&words)[4], unsigned (&pairs)[4], const __half*) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        pairs[e] = words[e];
    }
}

// A byte b as a half: 1024 + (b + 128) has b + 128 as its mantissa, and 1152 is taken away exactly.
__device__ __forceinline__ void toHalfPairs(const unsigned (&words)[4], unsigned (&pairs)[8], const std::int8_t*) {
    const __half bias = __ushort_as_half(0x6480);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
        const unsigned bytes = (words[e / 2] ^ 0x80808080u) >> (e % 2 * 16) & 0xffffu;
        const __half low = __ushort_as_half(static_cast<unsigned short>(0x6400u | (bytes & 0xffu)));
        const __half high = __ushort_as_half(static_cast<unsigned short>(0x6400u | bytes >> 8));
        const __half2 pair = __hsub2(__halves2half2(low, high), __half2half2(bias));
        pairs[e] = static_cast<unsigned>(__half_as_ushort(__low2half(pair))) |
                   static_cast<unsigned>(__half_as_ushort(__high2half(pair))) << 16;
    }
}

// sums [16, 8 TILES] += the warp's rows, columns of the staged steps only.
template <typename T, int RUN, int TILES>
__device__ __forceinline__ void accumulateRows(float (&sums)[TILES][4], const T* upper, const T* lower, int width,
                                               int first_step, int steps, const Fragment* fragments) {
    constexpr int kLoaded = 16 / static_cast<int>(sizeof(T));
    constexpr int kSteps = kLoaded / 4;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll 4
    for (int step = 0; step < steps; step += kSteps) {
        const int column = stepColumn<kLoaded>(first_step + step, lane % 4);
        unsigned words[2][4], pairs[2][kLoaded / 2];
        loadWords<T, kLoaded, RUN>(upper, column, width, words[0]);
        loadWords<T, kLoaded, RUN>(lower, column, width, words[1]);
        toHalfPairs(words[0], pairs[0], upper);
        toHalfPairs(words[1], pairs[1], lower);
#pragma unroll
        for (int part = 0; part < kSteps; ++part) {
            const unsigned rows[4] = {pairs[0][2 * part], pairs[1][2 * part], pairs[0][2 * part + 1],
                                      pairs[1][2 * part + 1]};
            accumulateStep<TILES>(sums, rows, fragments + (step + part) * TILES * kWarpSize, lane);
        }
    }
}

template <int TILES>
__device__ __forceinline__ void storeSums(const float (&sums)[TILES][4], float* block_sums, int first, int rows) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        const int row = first + lane / 4 + e / 2 * 8;
        if (row < rows) {
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                block_sums[row * sumStride(8 * TILES) + tile * 8 + lane % 4 * 2 + e % 2] = sums[tile][e];
            }
        }
    }
}

// Block (plane, split); blockDim.x / 32 warps.
template <typename T, int RUN, int TILES>
__global__ void __launch_bounds__(kDctWarps* kWarpSize, RUN == 1 ? 1 : 2) dctHalvesKernel(const DctArguments a) {
    constexpr int kLoaded = 16 / static_cast<int>(sizeof(T));
    constexpr int kStagedSteps = kDctStagedBytes / (kFragmentBytes * TILES);
    Fragment* fragments = dynamicShared<Fragment>();
    const int steps = ceilDiv(a.width, 4 * kLoaded) * (kLoaded / 4);
    float* block_sums = reinterpret_cast<float*>(fragments + min(steps, kStagedSteps) * TILES * kWarpSize);
    const int first_row = static_cast<int>(blockIdx.y) * a.rows_per_block;
    const int rows = min(a.rows_per_block, a.height - first_row);
    const T* plane =
        static_cast<const T*>(a.x) + (static_cast<std::size_t>(blockIdx.x) * a.height + first_row) * a.width;
    const int warps = static_cast<int>(blockDim.x) / kWarpSize;
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize, group = static_cast<int>(threadIdx.x) % kWarpSize / 4;
    prefetchForBlock(plane, sizeof(T) * rows * a.width);
    letNextBegin();
    for (int first = 0; first < rows; first += warps * kRows) {
        const int warp_first = first + warp * kRows;
        // Rows below the block's last are read in its place, and their sums are not kept.
        const T* upper = plane + static_cast<std::size_t>(min(warp_first + group, rows - 1)) * a.width;
        const T* lower = plane + static_cast<std::size_t>(min(warp_first + group + 8, rows - 1)) * a.width;
        float sums[TILES][4] = {};
        for (int step = 0; step < steps; step += kStagedSteps) {
            const int staged = min(kStagedSteps, steps - step);
            if (first == 0 || steps > kStagedSteps) {
                __syncthreads();
                stageFragments<kLoaded, TILES>(a, step, staged, fragments);
                __syncthreads();
            }
            if (warp_first < rows) {
                accumulateRows<T, RUN, TILES>(sums, upper, lower, a.width, step, staged, fragments);
            }
        }
        storeSums<TILES>(sums, block_sums, warp_first, rows);
    }
    __syncthreads();
    const std::size_t out = (static_cast<std::size_t>(blockIdx.x) * a.splits + blockIdx.y) * a.token_stride;
    contractRows(a, block_sums, sumStride(8 * TILES), first_row, rows, a.x_scale, a.sums + out);
}

template <typename T, int RUN, int TILES>
cudaError_t launchRun(const DctArguments& a, int planes, Chain& chain) noexcept {
    constexpr int kLoaded = 16 / static_cast<int>(sizeof(T));
    const int steps = ceilDiv(a.width, 4 * kLoaded) * (kLoaded / 4);
    const std::size_t staged = std::min<std::size_t>(kDctStagedBytes, std::size_t{kFragmentBytes} * TILES * steps);
    const std::size_t sums = sizeof(float) * sumStride(8 * TILES) * std::min(a.rows_per_block, a.height);
    const int warps = std::min(kDctWarps, ceilDiv(a.rows_per_block, kRows));
    const dim3 grid(static_cast<unsigned>(planes), static_cast<unsigned>(a.splits));
    return chain.launch(dctHalvesKernel<T, RUN, TILES>, grid, warps * kWarpSize, staged + sums, a);
}

template <typename T, int TILES>
cudaError_t launchTiles(const DctArguments& a, int planes, Chain& chain) noexcept {
    constexpr int kLoaded = 16 / static_cast<int>(sizeof(T));
    if (rowsAreAligned(a.x, sizeof(T), a.width, kLoaded)) {
        return launchRun<T, kLoaded, TILES>(a, planes, chain);
    }
    if (rowsAreAligned(a.x, sizeof(T), a.width, 4)) {
        return launchRun<T, 4, TILES>(a, planes, chain);
    }
    return launchRun<T, 1, TILES>(a, planes, chain);
}

template <typename T>
cudaError_t launchType(const DctArguments& a, int planes, Chain& chain) noexcept {
    return launchForKw(a.kw,
                       [&](auto padded) { return launchTiles<T, decltype(padded)::value / 8>(a, planes, chain); });
}

}  // namespace

cudaError_t launchDctHalves(const DctArguments& a, DataType type, int planes, Chain& chain) noexcept {
    return type == DataType::kHalf ? launchType<__half>(a, planes, chain) : launchType<std::int8_t>(a, planes, chain);
}

}  // namespace edgefsa
