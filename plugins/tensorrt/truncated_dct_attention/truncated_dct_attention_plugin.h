// SPDX-License-Identifier: Apache-2.0
// The operator TruncatedDctAttention as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>

#include "common/weighted_plugin.h"
#include "kernels/truncated_dct_attention/checks.h"
#include "kernels/truncated_dct_attention/truncated_dct_attention.h"

namespace edgefsa {

class TruncatedDctAttentionPlugin final
    : public Cloneable<TruncatedDctAttentionPlugin, WeightedPlugin<TruncatedDctAttentionParams>> {
  public:
    static constexpr const char* kName = "TruncatedDctAttention";
    static void announceFields(FieldList& fields);

    // Throws std::invalid_argument for an attribute that is missing or unknown.
    explicit TruncatedDctAttentionPlugin(const FieldReader& fields);

  protected:
    void checkSizes(const TruncatedDctAttentionParams& params) const override;
    void addAttributes(TruncatedDctAttentionParams& params) const override;
    std::size_t workspaceOf(const TruncatedDctAttentionParams& params) const override;
    cudaError_t launchKernels(const TruncatedDctAttentionParams& params, void* workspace,
                              cudaStream_t stream) const override;
    void listFields(FieldList& fields) const override;
    std::string settings() const override;

  private:
    std::string mode_;
    AttentionMode attentionMode_;
    int recurrence_;
    float scale_;
};

}  // namespace edgefsa
