// SPDX-License-Identifier: Apache-2.0
#include "truncated_dct_attention/truncated_dct_attention_plugin.h"

#include <cmath>
#include <stdexcept>

namespace edgefsa {
namespace {

using P = TruncatedDctAttentionParams;

constexpr Weight<P> kWeights[] = {
    {"basis_h", &P::basis_h, {{&P::kh}, {&P::height}}},
    {"basis_w", &P::basis_w, {{&P::kw}, {&P::width}}},
    {"query_weight", &P::query_weight, {{&P::query_channels}, {&P::channels}}},
    {"query_bias", &P::query_bias, {{&P::query_channels}}},
    {"key_weight", &P::key_weight, {{&P::query_channels}, {&P::channels}}},
    {"key_bias", &P::key_bias, {{&P::query_channels}}},
    {"value_weight", &P::value_weight, {{&P::value_channels}, {&P::channels}}},
    {"value_bias", &P::value_bias, {{&P::value_channels}}},
    {"out_weight", &P::out_weight, {{&P::channels}, {&P::value_channels}}, true},
    {"shift", &P::shift, {{&P::channels}}},
};

AttentionMode modeOf(const std::string& text) {
    if (text == "dot_product") {
        return AttentionMode::kDotProduct;
    }
    if (text == "linsoftmax") {
        return AttentionMode::kLinSoftmax;
    }
    throw std::invalid_argument("the attribute mode is \"" + text + "\"; it can be dot_product or linsoftmax");
}

}  // namespace

void TruncatedDctAttentionPlugin::announceFields(FieldList& fields) {
    fields.announce("mode", nvinfer1::PluginFieldType::kCHAR);
    fields.announce("recurrence", nvinfer1::PluginFieldType::kINT32);
    fields.announce("scale", nvinfer1::PluginFieldType::kFLOAT32);
    announceScales(fields);
}

TruncatedDctAttentionPlugin::TruncatedDctAttentionPlugin(const FieldReader& fields)
    : Cloneable(kName, kWeights, fields),
      mode_(fields.text("mode")),
      attentionMode_(modeOf(mode_)),
      recurrence_(fields.integer("recurrence")),
      scale_(fields.real("scale")) {
    const bool tooMany = attentionMode_ == AttentionMode::kLinSoftmax && recurrence_ > kMaxLinSoftmaxPasses;
    if (recurrence_ < 1 || tooMany) {
        throw std::invalid_argument("the attribute recurrence is " + std::to_string(recurrence_) +
                                    "; it can be 1 or more, and at most " + std::to_string(kMaxLinSoftmaxPasses) +
                                    " in the mode linsoftmax");
    }
    if (!std::isfinite(scale_)) {
        throw std::invalid_argument("the attribute scale is " + std::to_string(scale_) +
                                    "; it has to be a finite number");
    }
}

void TruncatedDctAttentionPlugin::checkSizes(const P& p) const {
    if (p.kh > kMaxBasisRows || p.kw > kMaxBasisRows) {
        throw std::invalid_argument("it keeps at most " + std::to_string(kMaxBasisRows) + " frequencies a side, not " +
                                    std::to_string(p.kh) + " x " + std::to_string(p.kw));
    }
}

void TruncatedDctAttentionPlugin::addAttributes(P& p) const {
    p.mode = attentionMode_;
    p.recurrence = recurrence_;
    p.scale = scale_;
}

std::size_t TruncatedDctAttentionPlugin::workspaceOf(const P& p) const {
    return truncatedDctAttentionWorkspaceBytes(p);
}

cudaError_t TruncatedDctAttentionPlugin::launchKernels(const P& p, void* workspace, cudaStream_t stream) const {
    return launchTruncatedDctAttention(p, workspace, stream);
}

void TruncatedDctAttentionPlugin::listFields(FieldList& fields) const {
    fields.add("mode", mode_);
    fields.add("recurrence", recurrence_);
    fields.add("scale", scale_);
    listScales(fields);
}

std::string TruncatedDctAttentionPlugin::settings() const { return mode_ + "." + std::to_string(recurrence_); }

}  // namespace edgefsa
