// SPDX-License-Identifier: Apache-2.0
// What the forms of the truncated DCT share: each reduces rows of x against basis_w into shared memory, then those
// sums against basis_h.
#pragma once

#include <type_traits>

#include "../launch_chain.cuh"
#include "truncated_dct_attention.h"

namespace edgefsa {

constexpr int kDctWarps = 8;                 // at most, per block
constexpr int kDctStagedBytes = 16 << 10;    // of basis_w at a time
constexpr int kDctSumFloats = 7680;          // of row sums per block: with the basis, 46 KB of shared memory
constexpr int kDctChannels = 64;             // channels of a block in format kHwc8
constexpr int kDctHwcStagedBytes = 8 << 10;  // and the basis that it stages at a time

struct DctArguments {
    const void* x;
    float* sums;  // [batch channels, splits, token_stride]: what each block found in its rows
    const float* basis_h;
    const float* basis_w;
    int channels;
    int height;
    int width;
    int kh;
    int kw;
    int token_stride;
    int rows_per_block;
    int warps_per_row;  // in format kHwc8
    int splits;
    float x_scale;
};

// Step 1 as part of a chain.
cudaError_t launchTruncatedDct(const TruncatedDctParams& params, void* workspace, Chain& chain) noexcept;

// The three forms; each expects rows_per_block, warps_per_row and splits as the plan for a GPU of so many
// multiprocessors gives them.
struct DctPlan {
    int rows_per_block;
    int warps_per_row;
    int splits;
};
DctPlan dctPlan(const TruncatedDctParams& params, int multiprocessors) noexcept;
cudaError_t launchDctHalves(const DctArguments& arguments, DataType type, int planes, Chain& chain) noexcept;
cudaError_t launchDctFloats(const DctArguments& arguments, int planes, Chain& chain) noexcept;
cudaError_t launchDctHwc(const DctArguments& arguments, int batch, Chain& chain) noexcept;

// basis_w has kw rows; the kernels know 8, 16 or 32. The odd stride of a row of sums spreads them over the banks.
__host__ __device__ constexpr int sumStride(int padded_kw) { return padded_kw + 1; }

// One block's end: out[i, j] = sum over its rows of basis_h[i, first_row + row] sums[row, j]; a warp per 8 values.
__device__ inline void contractRows(const DctArguments& a, const float* sums, int stride, int first_row, int rows,
                                    float gain, float* out) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const int groups = ceilDiv(a.kw, 8);
    for (int task = static_cast<int>(threadIdx.x) / kWarpSize; task < a.kh * groups;
         task += static_cast<int>(blockDim.x) / kWarpSize) {
        const int i = task / groups, j = task % groups * 8;
        float found[8] = {};
        for (int row = lane; row < rows; row += kWarpSize) {
            const float basis = a.basis_h[static_cast<std::size_t>(i) * a.height + first_row + row];
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                found[e] += basis * sums[row * stride + j + e];
            }
        }
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            found[e] = warpSum(found[e]);
            if (lane == 0 && j + e < a.kw) {
                out[i * a.kw + j + e] = gain * found[e];
            }
        }
    }
    for (int t = a.kh * a.kw + static_cast<int>(threadIdx.x); t < a.token_stride; t += static_cast<int>(blockDim.x)) {
        out[t] = 0.0f;
    }
}

// Calls launch with std::integral_constant<int, 8>, 16 or 32, whichever holds kw rows of the basis.
template <typename Launch>
cudaError_t launchForKw(int kw, const Launch& launch) noexcept {
    if (kw <= 8) {
        return launch(std::integral_constant<int, 8>{});
    }
    return kw <= 16 ? launch(std::integral_constant<int, 16>{}) : launch(std::integral_constant<int, 32>{});
}

}  // namespace edgefsa
