// SPDX-License-Identifier: Apache-2.0
// The operator UpsampleArgmax as a TensorRT plugin; README.md says what it takes.
#pragma once

#include <string>

#include "common/plugin.h"
#include "kernels/upsample_argmax/upsample_argmax.h"

namespace edgefsa {

class UpsampleArgmaxPlugin final : public Cloneable<UpsampleArgmaxPlugin, Plugin> {
  public:
    static constexpr const char* kName = "UpsampleArgmax";
    static void announceFields(FieldList& fields);

    // Throws std::invalid_argument for an attribute that is missing or not positive.
    explicit UpsampleArgmaxPlugin(const FieldReader& fields);

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
    UpsampleArgmaxParams paramsOf(const Tensors& tensors) const;

    int height_;
    int width_;
    int half_indices_;
};

}  // namespace edgefsa
