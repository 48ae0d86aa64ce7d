// SPDX-License-Identifier: Apache-2.0
// The operator TruncatedDctAttention as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>

#include "common/map_plugin.h"
#include "kernels/truncated_dct_attention/truncated_dct_attention.h"

namespace edgefsa {

class TruncatedDctAttentionPlugin final : public Cloneable<TruncatedDctAttentionPlugin, MapPlugin> {
  public:
    static constexpr const char* kName = "TruncatedDctAttention";
    static void announceFields(FieldList& fields);

    // Throws std::invalid_argument for an attribute that is missing or unknown.
    explicit TruncatedDctAttentionPlugin(const FieldReader& fields);

  protected:
    void check(const Tensors& tensors) const override;
    bool isServed(const Tensors& tensors) const override;
    std::size_t workspaceBytes(const Tensors& tensors) const override;
    cudaError_t launch(const Tensors& tensors, const Addresses& addresses, cudaStream_t stream) const override;
    void listFields(FieldList& fields) const override;
    std::string settings() const override;

  private:
    TruncatedDctAttentionParams paramsOf(const Tensors& tensors) const;

    std::string mode_;
    AttentionMode attentionMode_;
    int recurrence_;
    float scale_;
};

}  // namespace edgefsa
