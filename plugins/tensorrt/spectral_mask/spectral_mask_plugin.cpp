// SPDX-License-Identifier: Apache-2.0
#include "spectral_mask/spectral_mask_plugin.h"

#include <stdexcept>

namespace edgefsa {
namespace {

// The inputs in the order of the ONNX node.
enum Input : int { kX, kGain, kBasisH, kBasisW, kCouplingGain, kCouplingBase, kInputCount };

}  // namespace

void SpectralMaskPlugin::announceFields(FieldList& fields) { announceScales(fields); }

SpectralMaskPlugin::SpectralMaskPlugin(const FieldReader& fields) : Cloneable(kName, kInputCount, fields) {}

void SpectralMaskPlugin::check(const Tensors& tensors) const {
    requireRank("x", tensors.inputs[kX], 4);
    requireRank("basis_h", tensors.inputs[kBasisH], 2);
    requireRank("basis_w", tensors.inputs[kBasisW], 2);
    const SpectralMaskParams p = paramsOf(tensors);
    if (p.modes_h > kMaxMaskModesH || p.modes_w > kMaxMaskModesW) {
        throw std::invalid_argument("it takes at most " + std::to_string(kMaxMaskModesH) + " x " +
                                    std::to_string(kMaxMaskModesW) + " modes, not " + std::to_string(p.modes_h) +
                                    " x " + std::to_string(p.modes_w) + "; use a smaller radius");
    }
    const int tokens = p.modes_h * p.modes_w;
    requireShape("gain", tensors.inputs[kGain], {p.channels});
    requireShape("basis_h", tensors.inputs[kBasisH], {p.height, p.modes_h});
    requireShape("basis_w", tensors.inputs[kBasisW], {p.width, p.modes_w});
    requireShape("coupling_gain", tensors.inputs[kCouplingGain], {tokens, tokens});
    requireShape("coupling_base", tensors.inputs[kCouplingBase], {tokens, tokens});
    requireShape("y", tensors.output, {p.batch, p.channels, p.height, p.width});
}

bool SpectralMaskPlugin::isServed(const Tensors& tensors) const { return edgefsa::isServed(paramsOf(tensors)); }

std::size_t SpectralMaskPlugin::workspaceBytes(const Tensors& tensors) const {
    return spectralMaskWorkspaceBytes(paramsOf(tensors));
}

cudaError_t SpectralMaskPlugin::launch(const Tensors& tensors, const Addresses& addresses, cudaStream_t stream) const {
    SpectralMaskParams params = paramsOf(tensors);
    const auto weights = [&](Input input) { return static_cast<const float*>(addresses.inputs[input]); };
    params.x = addresses.inputs[kX];
    params.y = addresses.output;
    params.gain = weights(kGain);
    params.basis_h = weights(kBasisH);
    params.basis_w = weights(kBasisW);
    params.coupling_gain = weights(kCouplingGain);
    params.coupling_base = weights(kCouplingBase);
    return launchSpectralMask(params, addresses.workspace, stream);
}

void SpectralMaskPlugin::listFields(FieldList& fields) const { listScales(fields); }

std::string SpectralMaskPlugin::settings() const { return ""; }

// Everything but the addresses.
SpectralMaskParams SpectralMaskPlugin::paramsOf(const Tensors& tensors) const {
    SpectralMaskParams params = mapParams<SpectralMaskParams>(tensors);
    params.modes_h = extent(tensors.inputs[kBasisH].dims, 1);
    params.modes_w = extent(tensors.inputs[kBasisW].dims, 1);
    return params;
}

}  // namespace edgefsa
