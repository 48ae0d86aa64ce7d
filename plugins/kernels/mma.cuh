// SPDX-License-Identifier: Apache-2.0
// One tensor-core product of a warp: 16 x 16 halves by 16 x 8 halves, accumulated in float.
#pragma once

#include "common.cuh"

namespace edgefsa {

// d [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane % 4, a lane holds
//   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
//   a: pairs of halves, the columns of a pair being neighbours, the first in the low 16 bits:
//      (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)
//   b: pairs along the rows: (2t, g), (2t + 8, g)
// so an order of the 16 columns of a is free if the rows of b have it too. All lanes of the warp must call it.
__device__ __forceinline__ void multiplyAccumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#elif defined(__CUDA_ARCH__)
    // Turing multiplies 8 columns at a time.
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#else
    // The same by shuffles, which states the layout for compilers that have no such instruction.
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const unsigned words_b[2] = {b0, b1};
    const auto half_of = [](unsigned pair, int e) {
        return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> (16 * e) & 0xffffu)));
    };
    for (int pair = 0; pair < 8; ++pair) {
        const int holder = pair % 4, word = pair / 4;
        unsigned rows[2], columns[2];
        for (int e = 0; e < 2; ++e) {
            rows[e] = __shfl_sync(kWholeWarp, a[2 * word + e], lane / 4 * 4 + holder);
            columns[e] = __shfl_sync(kWholeWarp, words_b[word], (lane % 4 * 2 + e) * 4 + holder);
        }
        for (int e = 0; e < 4; ++e) {
            d[e] += half_of(rows[e / 2], 0) * half_of(columns[e % 2], 0);
            d[e] += half_of(rows[e / 2], 1) * half_of(columns[e % 2], 1);
        }
    }
#endif
}

}  // namespace edgefsa
