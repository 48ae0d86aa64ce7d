// The operator TruncatedDctAttention as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>

#include "common/plugin.h"
#include "common/tensors.h"
#include "kernels/truncated_dct_attention/truncated_dct_attention.h"

namespace edgefsa {

class TruncatedDctAttentionPlugin final : public Plugin {
  public:
    static constexpr const char* kName = "TruncatedDctAttention";
    static void announceFields(FieldList& fields);

    // Throws std::invalid_argument for an attribute that is missing or unknown.
    explicit TruncatedDctAttentionPlugin(const FieldReader& fields);
    nvinfer1::IPluginV3* clone() noexcept override;

  protected:
    nvinfer1::DataType outputType(const nvinfer1::DataType* inputs) const override;
    nvinfer1::DimsExprs outputShape(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder& builder) const override;
    bool supports(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors) const override;
    void check(const Tensors& tensors) const override;
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
    Scales int8_;
};

}  // namespace edgefsa
