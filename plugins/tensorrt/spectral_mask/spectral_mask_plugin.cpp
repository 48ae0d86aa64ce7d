// SPDX-License-Identifier: Apache-2.0
#include "spectral_mask/spectral_mask_plugin.h"

#include <stdexcept>

namespace edgefsa {
namespace {

using P = SpectralMaskParams;

constexpr Weight<P> kWeights[] = {
    {"gain", &P::gain, {{&P::channels}}},
    {"basis_h", &P::basis_h, {{&P::height}, {&P::modes_h}}},
    {"basis_w", &P::basis_w, {{&P::width}, {&P::modes_w}}},
    {"coupling_gain", &P::coupling_gain, {{&P::modes_h, &P::modes_w}, {&P::modes_h, &P::modes_w}}},
    {"coupling_base", &P::coupling_base, {{&P::modes_h, &P::modes_w}, {&P::modes_h, &P::modes_w}}},
};

}  // namespace

void SpectralMaskPlugin::announceFields(FieldList& fields) { announceScales(fields); }

SpectralMaskPlugin::SpectralMaskPlugin(const FieldReader& fields) : Cloneable(kName, kWeights, fields) {}

void SpectralMaskPlugin::checkSizes(const P& p) const {
    if (p.modes_h > kMaxMaskModesH || p.modes_w > kMaxMaskModesW) {
        throw std::invalid_argument("it takes at most " + std::to_string(kMaxMaskModesH) + " x " +
                                    std::to_string(kMaxMaskModesW) + " modes, not " + std::to_string(p.modes_h) +
                                    " x " + std::to_string(p.modes_w) + "; use a smaller radius");
    }
}

void SpectralMaskPlugin::addAttributes(P& p) const { p.passes = static_cast<Passes>(tactic()); }

std::vector<std::int32_t> SpectralMaskPlugin::tacticsOf(const P& params) const {
    std::vector<std::int32_t> served;
    for (const Passes passes : {Passes::kOne, Passes::kTwo}) {
        P p = params;
        p.passes = passes;
        if (edgefsa::isServed(p)) {
            served.push_back(static_cast<std::int32_t>(passes));
        }
    }
    return served.size() > 1 ? served : std::vector<std::int32_t>();
}

std::size_t SpectralMaskPlugin::workspaceOf(const P& p) const { return spectralMaskWorkspaceBytes(p); }

cudaError_t SpectralMaskPlugin::launchKernels(const P& p, void* workspace, cudaStream_t stream) const {
    return launchSpectralMask(p, workspace, stream);
}

void SpectralMaskPlugin::listFields(FieldList& fields) const { listScales(fields); }

std::string SpectralMaskPlugin::settings() const { return ""; }

}  // namespace edgefsa
