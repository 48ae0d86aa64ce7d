// SPDX-License-Identifier: Apache-2.0
// What every operator's plugin shares: the three capabilities of IPluginV3 around a few functions of the operator.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

#include "common/fields.h"
#include "common/logging.h"

namespace edgefsa {

// The nodes of the ONNX graph name both, in the attributes plugin_version and plugin_namespace.
constexpr const char* kPluginVersion = "1";
constexpr const char* kPluginNamespace = "edgefsa";

// The tensors of one call. `inputs` has one description (and address) for each input of the ONNX node, in its order.
struct Tensors {
    const nvinfer1::PluginTensorDesc* inputs;
    const nvinfer1::PluginTensorDesc& output;
};
struct Addresses {
    const void* const* inputs;
    void* output;
    void* workspace;
};

// One output. The protected functions may throw: what they throw is logged, and TensorRT is told of the
// failure; nothing leaves the public ones.
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
  public:
    ~Plugin() noexcept override = default;

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept final;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept final;

    const char* getPluginName() const noexcept final { return name_; }
    const char* getPluginVersion() const noexcept final { return kPluginVersion; }
    const char* getPluginNamespace() const noexcept final { return kPluginNamespace; }

    std::int32_t getNbOutputs() const noexcept final { return 1; }
    std::int32_t getOutputDataTypes(nvinfer1::DataType* outputs, std::int32_t outputCount,
                                    const nvinfer1::DataType* inputs, std::int32_t inputCount) const noexcept final;
    std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t inputCount,
                                 const nvinfer1::DimsExprs* shapeInputs, std::int32_t shapeInputCount,
                                 nvinfer1::DimsExprs* outputs, std::int32_t outputCount,
                                 nvinfer1::IExprBuilder& builder) noexcept final;
    bool supportsFormatCombination(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                   std::int32_t inputCount, std::int32_t outputCount) noexcept final;
    std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                 const nvinfer1::DynamicPluginTensorDesc* outputs,
                                 std::int32_t outputCount) noexcept final;
    std::size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                 const nvinfer1::DynamicPluginTensorDesc* outputs,
                                 std::int32_t outputCount) const noexcept final;
    const char* getTimingCacheID() noexcept final;
    std::int32_t getNbTactics() noexcept final { return static_cast<std::int32_t>(tactics_.size()); }
    std::int32_t getValidTactics(std::int32_t* tactics, std::int32_t tacticCount) noexcept final;

    std::int32_t setTactic(std::int32_t tactic) noexcept final;
    std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, std::int32_t inputCount,
                               const nvinfer1::PluginTensorDesc* outputs, std::int32_t outputCount) noexcept final;
    std::int32_t enqueue(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc* outputs,
                         const void* const* inputAddresses, void* const* outputAddresses, void* workspace,
                         cudaStream_t stream) noexcept final;
    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept final;

  protected:
    Plugin(const char* name, std::int32_t inputCount) : name_(name), inputCount_(inputCount) {}
    Plugin(const Plugin&) = default;

    virtual nvinfer1::DataType outputType(const nvinfer1::DataType* inputs) const = 0;
    virtual nvinfer1::DimsExprs outputShape(const nvinfer1::DimsExprs* inputs,
                                            nvinfer1::IExprBuilder& builder) const = 0;
    // Whether tensor `position` may have its type and format, given those of the tensors before it; the output is last.
    virtual bool supports(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors) const = 0;
    // Throws std::invalid_argument where the shapes do not belong together.
    virtual void check(const Tensors& tensors) const = 0;
    // Whether there are kernels for these types, formats and shapes, which `supports` and `check` let through, on this
    // GPU.
    virtual bool isServed(const Tensors&) const { return true; }
    // Ways to compute the same, of which TensorRT takes the fastest; positive numbers, none where there is no choice.
    virtual std::vector<std::int32_t> tacticsFor(const Tensors&) const { return {}; }
    // For every tactic.
    virtual std::size_t workspaceBytes(const Tensors& tensors) const = 0;
    virtual cudaError_t launch(const Tensors& tensors, const Addresses& addresses, cudaStream_t stream) const = 0;
    // The attributes as createPlugin takes them back, and a text of them for the timing cache.
    virtual void listFields(FieldList& fields) const = 0;
    virtual std::string settings() const = 0;

    std::int32_t inputCount() const { return inputCount_; }
    // The one in use; 0 leaves the choice to the kernels.
    std::int32_t tactic() const { return tactic_; }

  private:
    void checkCounts(std::int32_t inputCount, std::int32_t outputCount) const;
    void checkAll(const Tensors& tensors) const;

    const char* name_;
    std::int32_t inputCount_;
    FieldList serialised_;
    std::string timingCacheId_;
    std::vector<std::int32_t> tactics_;  // of what was configured last
    std::int32_t tactic_ = 0;
};

// Copies of an operator's plugin; `Base` is Plugin or a class on it.
template <typename Operator, typename Base>
class Cloneable : public Base {
  public:
    nvinfer1::IPluginV3* clone() noexcept final {
        return guarded(Operator::kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                       [&]() -> nvinfer1::IPluginV3* { return new Operator(static_cast<const Operator&>(*this)); });
    }

  protected:
    using Base::Base;
};

}  // namespace edgefsa
