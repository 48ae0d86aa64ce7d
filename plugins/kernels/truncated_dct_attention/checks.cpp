#include "checks.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>

namespace edgefsa {
namespace {

constexpr int kMostRows = 65535;  // of a map: a grid's second and third extents end there
constexpr int kMostBatch = 16384;

bool areGiven(std::initializer_list<const void*> pointers) noexcept {
    return std::find(pointers.begin(), pointers.end(), nullptr) == pointers.end();
}

// Channels-last maps are moved in 16 bytes; the launchers look at linear ones and choose.
bool isMapServed(const void* map, Format format) noexcept {
    return map != nullptr && (format == Format::kLinear || reinterpret_cast<std::uintptr_t>(map) % 16 == 0);
}

bool isScaleServed(float scale, DataType type) noexcept { return type != DataType::kInt8 || scale > 0; }

template <typename Params>
bool areMapsServed(const Params& p) noexcept {
    const bool sizes = p.batch >= 1 && p.batch <= kMostBatch && p.channels >= 1 && p.height >= 1 &&
                       p.height <= kMostRows && p.width >= 1 && p.kh >= 1 && p.kh <= kMaxBasisRows && p.kw >= 1 &&
                       p.kw <= kMaxBasisRows;
    const bool type = p.type == DataType::kFloat || p.type == DataType::kHalf || p.type == DataType::kInt8;
    const bool format = p.format == Format::kLinear || (p.format == Format::kHwc8 && p.type == DataType::kHalf);
    return sizes && type && format;
}

bool areWeightsGiven(const TruncatedDctAttentionParams& p) noexcept {
    return areGiven({p.basis_h, p.basis_w, p.query_weight, p.query_bias, p.key_weight, p.key_bias, p.value_weight,
                     p.value_bias, p.out_weight, p.shift});
}

}  // namespace

bool isServed(const TruncatedDctParams& p) noexcept { return areMapsServed(p); }

bool isServed(const InverseDctParams& p) noexcept { return areMapsServed(p); }

bool isServed(const TruncatedDctAttentionParams& p) noexcept {
    const bool mode = p.mode == AttentionMode::kDotProduct ||
                      (p.mode == AttentionMode::kLinSoftmax && p.recurrence <= kMaxLinSoftmaxPasses);
    return areMapsServed(p) && p.query_channels >= 1 && p.value_channels >= 1 && p.recurrence >= 1 && mode;
}

bool isLaunchable(const TruncatedDctParams& p) noexcept {
    return isServed(p) && areGiven({p.coefficients, p.basis_h, p.basis_w}) && isMapServed(p.x, p.format) &&
           isScaleServed(p.x_scale, p.type);
}

bool isLaunchable(const InverseDctParams& p) noexcept {
    return isServed(p) && areGiven({p.change, p.basis_h, p.basis_w, p.shift}) && isMapServed(p.x, p.format) &&
           isMapServed(p.y, p.format) && isScaleServed(p.x_scale, p.type) && isScaleServed(p.y_scale, p.type);
}

bool isLaunchable(const CoefficientAttentionParams& p) noexcept {
    return isServed(p.op) && p.op.mode == AttentionMode::kDotProduct && areGiven({p.coefficients, p.change}) &&
           areWeightsGiven(p.op);
}

bool isLaunchable(const TruncatedDctAttentionParams& p) noexcept {
    return isServed(p) && areWeightsGiven(p) && isMapServed(p.x, p.format) && isMapServed(p.y, p.format) &&
           isScaleServed(p.x_scale, p.type) && isScaleServed(p.y_scale, p.type);
}

}  // namespace edgefsa
