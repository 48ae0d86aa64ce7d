// SPDX-License-Identifier: Apache-2.0
#include "truncated_dct_attention/truncated_dct_attention_plugin.h"

#include <cmath>
#include <stdexcept>

#include "kernels/truncated_dct_attention/checks.h"

namespace edgefsa {
namespace {

// The inputs in the order of the ONNX node.
enum Input : int {
    kX,
    kBasisH,
    kBasisW,
    kQueryWeight,
    kQueryBias,
    kKeyWeight,
    kKeyBias,
    kValueWeight,
    kValueBias,
    kOutWeight,
    kShift,
    kInputCount
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
    : Cloneable(kName, kInputCount, fields),
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

void TruncatedDctAttentionPlugin::check(const Tensors& tensors) const {
    requireRank("x", tensors.inputs[kX], 4);
    requireRank("basis_h", tensors.inputs[kBasisH], 2);
    requireRank("basis_w", tensors.inputs[kBasisW], 2);
    requireRank("query_weight", tensors.inputs[kQueryWeight], 2);
    requireRank("value_weight", tensors.inputs[kValueWeight], 2);
    const TruncatedDctAttentionParams p = paramsOf(tensors);
    if (p.kh > kMaxBasisRows || p.kw > kMaxBasisRows) {
        throw std::invalid_argument("it keeps at most " + std::to_string(kMaxBasisRows) + " frequencies a side, not " +
                                    std::to_string(p.kh) + " x " + std::to_string(p.kw));
    }
    requireShape("basis_h", tensors.inputs[kBasisH], {p.kh, p.height});
    requireShape("basis_w", tensors.inputs[kBasisW], {p.kw, p.width});
    requireShape("query_weight", tensors.inputs[kQueryWeight], {p.query_channels, p.channels});
    requireShape("query_bias", tensors.inputs[kQueryBias], {p.query_channels});
    requireShape("key_weight", tensors.inputs[kKeyWeight], {p.query_channels, p.channels});
    requireShape("key_bias", tensors.inputs[kKeyBias], {p.query_channels});
    requireShape("value_weight", tensors.inputs[kValueWeight], {p.value_channels, p.channels});
    requireShape("value_bias", tensors.inputs[kValueBias], {p.value_channels});
    requireShape("out_weight", tensors.inputs[kOutWeight], {p.channels, p.value_channels});
    requireShape("shift", tensors.inputs[kShift], {p.channels});
    requireShape("y", tensors.output, {p.batch, p.channels, p.height, p.width});
}

bool TruncatedDctAttentionPlugin::isServed(const Tensors& tensors) const {
    return edgefsa::isServed(paramsOf(tensors));
}

std::size_t TruncatedDctAttentionPlugin::workspaceBytes(const Tensors& tensors) const {
    return truncatedDctAttentionWorkspaceBytes(paramsOf(tensors));
}

cudaError_t TruncatedDctAttentionPlugin::launch(const Tensors& tensors, const Addresses& addresses,
                                                cudaStream_t stream) const {
    TruncatedDctAttentionParams params = paramsOf(tensors);
    const auto weights = [&](Input input) { return static_cast<const float*>(addresses.inputs[input]); };
    params.x = addresses.inputs[kX];
    params.y = addresses.output;
    params.basis_h = weights(kBasisH);
    params.basis_w = weights(kBasisW);
    params.query_weight = weights(kQueryWeight);
    params.query_bias = weights(kQueryBias);
    params.key_weight = weights(kKeyWeight);
    params.key_bias = weights(kKeyBias);
    params.value_weight = weights(kValueWeight);
    params.value_bias = weights(kValueBias);
    params.out_weight = weights(kOutWeight);
    params.shift = weights(kShift);
    return launchTruncatedDctAttention(params, addresses.workspace, stream);
}

void TruncatedDctAttentionPlugin::listFields(FieldList& fields) const {
    fields.add("mode", mode_);
    fields.add("recurrence", recurrence_);
    fields.add("scale", scale_);
    listScales(fields);
}

std::string TruncatedDctAttentionPlugin::settings() const { return mode_ + "." + std::to_string(recurrence_); }

// Everything but the addresses.
TruncatedDctAttentionParams TruncatedDctAttentionPlugin::paramsOf(const Tensors& tensors) const {
    TruncatedDctAttentionParams params = mapParams<TruncatedDctAttentionParams>(tensors);
    params.kh = extent(tensors.inputs[kBasisH].dims, 0);
    params.kw = extent(tensors.inputs[kBasisW].dims, 0);
    params.query_channels = extent(tensors.inputs[kQueryWeight].dims, 0);
    params.value_channels = extent(tensors.inputs[kValueWeight].dims, 0);
    params.mode = attentionMode_;
    params.recurrence = recurrence_;
    params.scale = scale_;
    return params;
}

}  // namespace edgefsa
