// SPDX-License-Identifier: Apache-2.0
// The operator SpectralMask as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>
#include <vector>

#include "common/weighted_plugin.h"
#include "kernels/spectral_mask/spectral_mask.h"

namespace edgefsa {

class SpectralMaskPlugin final : public Cloneable<SpectralMaskPlugin, WeightedPlugin<SpectralMaskParams>> {
  public:
    static constexpr const char* kName = "SpectralMask";
    static void announceFields(FieldList& fields);

    explicit SpectralMaskPlugin(const FieldReader& fields);

  protected:
    void checkSizes(const SpectralMaskParams& params) const override;
    void addAttributes(SpectralMaskParams& params) const override;
    std::vector<std::int32_t> tacticsOf(const SpectralMaskParams& params) const override;
    std::size_t workspaceOf(const SpectralMaskParams& params) const override;
    cudaError_t launchKernels(const SpectralMaskParams& params, void* workspace, cudaStream_t stream) const override;
    void listFields(FieldList& fields) const override;
    std::string settings() const override;
};

}  // namespace edgefsa
