// SPDX-License-Identifier: Apache-2.0
// The steps of mode kLinSoftmax that go over the pixels of one map per sample.
#pragma once

#include "../launch_chain.cuh"
#include "buffers.h"

namespace edgefsa {

// With tokens T = kh kw and the strides of TokenBuffers.
struct MapBuffers {
    float* inverse_norms;  // a, then b [2, batch, height, width]
    float* pairs;          // a map's rows against products of two rows of basis_w [batch, height, kw, kw]
    float* singles;        // and against one [batch, height, kw]
    float* gram;           // G, and the map's coefficients as one more row [batch, T + 1, tokenStride]
    float* weighted;       // gram affinity; the column after the tokens is d [batch, T + 1, tokenStride]
};

inline MapBuffers takeMapBuffers(const TruncatedDctAttentionParams& p, Arena& arena) noexcept {
    const std::size_t stride = static_cast<std::size_t>(tokenStride(p.kh, p.kw));
    const std::size_t rows = static_cast<std::size_t>(p.batch) * p.height,
                      tokens = static_cast<std::size_t>(p.kh) * p.kw;
    MapBuffers b = {};
    b.inverse_norms = arena.take(2 * rows * p.width);
    b.pairs = arena.take(rows * p.kw * p.kw);
    b.singles = arena.take(rows * p.kw);
    b.gram = arena.take((tokens + 1) * stride * p.batch);
    b.weighted = arena.take((tokens + 1) * stride * p.batch);
    return b;
}

// a = 1 / (|idct(queries)| + 1e-12), b of the keys.
cudaError_t launchInverseNorms(const TruncatedDctAttentionParams& params, const TokenBuffers& tokens,
                               const MapBuffers& maps, Chain& chain) noexcept;

// gram = G(weight) and dct(map) of maps [batch, height, width], by way of pairs and singles: two launches.
cudaError_t launchGram(const TruncatedDctAttentionParams& params, const float* weight, const float* map,
                       const MapBuffers& maps, int token_stride, Chain& chain) noexcept;

// v = scale / (1 + scale a idct(last row of `weighted`)) and e = a v.
cudaError_t launchGains(const TruncatedDctAttentionParams& params, const MapBuffers& maps, int token_stride,
                        float* gains, float* masses, Chain& chain) noexcept;

}  // namespace edgefsa
