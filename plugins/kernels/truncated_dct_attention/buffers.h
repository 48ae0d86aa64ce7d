// SPDX-License-Identifier: Apache-2.0
// How the attention's steps lay out the workspace.
#pragma once

#include <algorithm>
#include <cstddef>

#include "truncated_dct_attention.h"

namespace edgefsa {

// Hands out runs of floats, each from a multiple of 16 bytes; over nullptr it only counts.
class Arena {
  public:
    explicit Arena(void* start) noexcept : start_(static_cast<float*>(start)) {}

    float* take(std::size_t floats) noexcept {
        float* taken = start_ == nullptr ? nullptr : start_ + used_;
        used_ += (floats + 3) / 4 * 4;
        return taken;
    }
    std::size_t bytes() const noexcept { return used_ * sizeof(float); }

  private:
    float* start_;
    std::size_t used_ = 0;
};

// All [batch, rows, tokenStride] but the first two.
struct TokenBuffers {
    int stride;            // tokenStride
    float* of_ones;        // d: the coefficients of a map of ones [tokens]
    float* gram_diagonal;  // g: the squared lengths of the bases' outer products [tokens]
    float* queries;        // rows: query_channels
    float* keys;
    float* values;    // value_channels
    float* spread;    // out_weight values; channels. The values themselves where out_weight is folded into them
    float* affinity;  // S; tokens
    float* tokens;    // X after a pass; channels
};

// Whether the values are those of the output already.
inline bool isFolded(const TruncatedDctAttentionParams& p) noexcept { return p.out_weight == nullptr; }

inline TokenBuffers takeTokenBuffers(const TruncatedDctAttentionParams& p, Arena& arena) noexcept {
    const std::size_t stride = static_cast<std::size_t>(tokenStride(p.kh, p.kw)), row = p.batch * stride;
    TokenBuffers b = {};
    b.stride = static_cast<int>(stride);
    b.of_ones = arena.take(stride);
    b.gram_diagonal = arena.take(stride);
    b.queries = arena.take(row * p.query_channels);
    b.keys = arena.take(row * p.query_channels);
    b.values = arena.take(row * p.value_channels);
    b.spread = arena.take(row * p.channels);  // also where it is not used: sizes are asked for without pointers
    if (isFolded(p)) {
        b.spread = b.values;
    }
    b.affinity = arena.take(row * p.kh * p.kw);
    b.tokens = p.recurrence > 1 ? arena.take(row * p.channels) : nullptr;
    return b;
}

}  // namespace edgefsa
