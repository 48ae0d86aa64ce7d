// SPDX-License-Identifier: Apache-2.0
// basis_w as operands of tensor cores, for x in halves (or bytes, which halves hold exactly).
//
// Each value of the basis is the sum of two halves, so products are exact to about 2^-21. Both halves bear the value's
// sign and neither is 0 unless the value is: an infinite x times a value must not become infinity times 0.
#pragma once

#include "../mma.cuh"
#include "truncated_dct.cuh"

namespace edgefsa {

// A lane's part of 16 rows (columns of x) and 8 columns (rows of basis_w): both pairs' leading halves, then the rest.
using Fragment = uint4;
constexpr int kFragmentBytes = kWarpSize * static_cast<int>(sizeof(Fragment));

// The first of the 4 columns of x that lane % 4 = t holds in step `step`, where a lane loads LOADED neighbours at once.
template <int LOADED>
__device__ __forceinline__ int stepColumn(int step, int t) {
    constexpr int kSteps = LOADED / 4;
    return step / kSteps * 4 * LOADED + t * LOADED + step % kSteps * 4;
}

// `rounded`, or the least half of the sign of `value` where it is 0 or of the other sign.
__device__ __forceinline__ __half halfOfSign(__half rounded, float value) {
    const unsigned sign = __float_as_uint(value) >> 16 & 0x8000u;
    const unsigned bits = __half_as_ushort(rounded);
    const bool usable = (bits & 0x7fffu) != 0 && (bits & 0x8000u) == sign;
    return usable || value == 0.0f ? rounded : __ushort_as_half(static_cast<unsigned short>(sign | 1u));
}

__device__ __forceinline__ void splitPair(float first, float second, unsigned& leading, unsigned& rest) {
    const float values[2] = {first, second};
    leading = rest = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        // Cut, not rounded, to a half's 11 bits, so that what remains has the value's sign.
        const __half cut = __float2half_rn(__uint_as_float(__float_as_uint(values[e]) & 0xffffe000u));
        const __half high = halfOfSign(cut, values[e]);
        const __half low = halfOfSign(__float2half_rn(values[e] - __half2float(high)), values[e]);
        leading |= static_cast<unsigned>(__half_as_ushort(high)) << (16 * e);
        rest |= static_cast<unsigned>(__half_as_ushort(low)) << (16 * e);
    }
}

// Puts steps [first_step, first_step + steps) of basis_w into fragments [steps, TILES, 32]; 0 beyond its edges.
template <int LOADED, int TILES>
__device__ void stageFragments(const DctArguments& a, int first_step, int steps, Fragment* fragments) {
    for (int index = static_cast<int>(threadIdx.x); index < steps * TILES * kWarpSize;
         index += static_cast<int>(blockDim.x)) {
        const int lane = index % kWarpSize, tile = index / kWarpSize % TILES;
        const int column = stepColumn<LOADED>(first_step + index / kWarpSize / TILES, lane % 4);
        const int j = tile * 8 + lane / 4;
        float values[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const bool inside = j < a.kw && column + e < a.width;
            values[e] = inside ? a.basis_w[static_cast<std::size_t>(j) * a.width + column + e] : 0.0f;
        }
        Fragment fragment;
        splitPair(values[0], values[1], fragment.x, fragment.z);
        splitPair(values[2], values[3], fragment.y, fragment.w);
        fragments[index] = fragment;
    }
}

// sums [16, 8 TILES] += rows [16, 16] of x by one step of the basis.
template <int TILES>
__device__ __forceinline__ void accumulateStep(float (&sums)[TILES][4], const unsigned (&rows)[4],
                                               const Fragment* fragments, int lane) {
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
        const Fragment fragment = fragments[tile * kWarpSize + lane];
        multiplyAccumulate(sums[tile], rows, fragment.x, fragment.y);
        multiplyAccumulate(sums[tile], rows, fragment.z, fragment.w);
    }
}

}  // namespace edgefsa
