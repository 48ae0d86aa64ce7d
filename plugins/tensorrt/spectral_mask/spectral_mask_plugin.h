// SPDX-License-Identifier: Apache-2.0
// The operator SpectralMask as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>

#include "common/map_plugin.h"
#include "kernels/spectral_mask/spectral_mask.h"

namespace edgefsa {

class SpectralMaskPlugin final : public Cloneable<SpectralMaskPlugin, MapPlugin> {
  public:
    static constexpr const char* kName = "SpectralMask";
    static void announceFields(FieldList& fields);

    explicit SpectralMaskPlugin(const FieldReader& fields);

  protected:
    void check(const Tensors& tensors) const override;
    bool isServed(const Tensors& tensors) const override;
    std::size_t workspaceBytes(const Tensors& tensors) const override;
    cudaError_t launch(const Tensors& tensors, const Addresses& addresses, cudaStream_t stream) const override;
    void listFields(FieldList& fields) const override;
    std::string settings() const override;

  private:
    SpectralMaskParams paramsOf(const Tensors& tensors) const;
};

}  // namespace edgefsa
