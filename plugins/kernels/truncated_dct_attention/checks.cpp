// SPDX-License-Identifier: Apache-2.0
#include "checks.h"

#include "../launch_checks.h"
#include "buffers.h"

namespace edgefsa {
namespace {

constexpr int kMostBatch = 16384;
// Of a row that a block of the inverse DCT takes in format kHwc8: 4096 / 32 at the least.
constexpr int kLeastTilePixels = 128;

template <typename Params>
bool areMapsServed(const Params& p) noexcept {
    const bool sizes = areExtents({p.batch, p.channels, p.height, p.width, p.kh, p.kw}) && p.batch <= kMostBatch &&
                       p.kh <= kMaxBasisRows && p.kw <= kMaxBasisRows;
    // The pixels of a channels-last row and the samples share a grid's third extent.
    const bool grid = p.format == Format::kLinear || p.batch * (1 + p.width / kLeastTilePixels) <= kMaxExtent;
    return sizes && isLayout(p.type, p.format) && grid;
}

bool areWeightsGiven(const TruncatedDctAttentionParams& p) noexcept {
    return areGiven({p.basis_h, p.basis_w, p.query_weight, p.query_bias, p.key_weight, p.key_bias, p.value_weight,
                     p.value_bias, p.shift}) &&
           (!isFolded(p) || p.value_channels == p.channels);
}

}  // namespace

bool isServed(const TruncatedDctParams& p) noexcept { return areMapsServed(p); }

bool isServed(const InverseDctParams& p) noexcept { return areMapsServed(p); }

bool isServed(const TruncatedDctAttentionParams& p) noexcept {
    const bool mode = p.mode == AttentionMode::kDotProduct ||
                      (p.mode == AttentionMode::kLinSoftmax && p.recurrence <= kMaxLinSoftmaxPasses);
    return areMapsServed(p) && areExtents({p.query_channels, p.value_channels}) && p.recurrence >= 1 && mode;
}

bool isLaunchable(const TruncatedDctParams& p) noexcept {
    return isServed(p) && areGiven({p.coefficients, p.basis_h, p.basis_w}) && isMap(p.x, p.format) &&
           isScale(p.x_scale, p.type);
}

bool isLaunchable(const InverseDctParams& p) noexcept {
    return isServed(p) && areGiven({p.change, p.basis_h, p.basis_w, p.shift}) && isMap(p.x, p.format) &&
           isMap(p.y, p.format) && isScale(p.x_scale, p.type) && isScale(p.y_scale, p.type);
}

bool isLaunchable(const CoefficientAttentionParams& p) noexcept {
    return isServed(p.op) && p.op.mode == AttentionMode::kDotProduct && areGiven({p.coefficients, p.change}) &&
           areWeightsGiven(p.op);
}

bool isLaunchable(const TruncatedDctAttentionParams& p) noexcept {
    return isServed(p) && areWeightsGiven(p) && isMap(p.x, p.format) && isMap(p.y, p.format) &&
           isScale(p.x_scale, p.type) && isScale(p.y_scale, p.type);
}

}  // namespace edgefsa
