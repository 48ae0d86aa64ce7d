// SPDX-License-Identifier: Apache-2.0
#include "common/plugin.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace edgefsa {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr std::int32_t kSuccess = 0;
constexpr std::int32_t kFailure = 1;

// Every tensor of an operator has dimensions; TensorRT gives a rank of 0 or -1 where it does not say them.
bool isKnown(const nvinfer1::Dims& dims) {
    for (std::int32_t i = 0; i < dims.nbDims; ++i) {
        if (dims.d[i] < 0) {
            return false;
        }
    }
    return dims.nbDims > 0;
}

// TensorRT may run an empty batch, which no kernel has to see.
bool isEmpty(const PluginTensorDesc& x) { return x.dims.nbDims > 0 && x.dims.d[0] == 0; }

// The tensors of one call at the largest shapes of the profile, and where it has none at the shapes that they have.
// Some of them may not be known yet.
class Largest {
  public:
    Largest(const DynamicPluginTensorDesc* inputs, std::int32_t inputCount, const DynamicPluginTensorDesc& output)
        : output_(take(output)) {
        for (std::int32_t i = 0; i < inputCount; ++i) {
            inputs_.push_back(take(inputs[i]));
        }
    }
    bool areKnown() const { return areKnown_; }
    Tensors tensors() const { return {inputs_.data(), output_}; }

  private:
    PluginTensorDesc take(const DynamicPluginTensorDesc& tensor) {
        PluginTensorDesc largest = tensor.desc;
        if (tensor.max.nbDims == tensor.desc.dims.nbDims && isKnown(tensor.max)) {
            largest.dims = tensor.max;
        }
        areKnown_ = areKnown_ && isKnown(largest.dims);
        return largest;
    }

    bool areKnown_ = true;
    std::vector<PluginTensorDesc> inputs_;
    PluginTensorDesc output_;
};

}  // namespace

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
    switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE:
            return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD:
            return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME:
            return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

std::int32_t Plugin::getOutputDataTypes(DataType* outputs, std::int32_t outputCount, const DataType* inputs,
                                        std::int32_t inputCount) const noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        outputs[0] = outputType(inputs);
        return kSuccess;
    });
}

std::int32_t Plugin::getOutputShapes(const DimsExprs* inputs, std::int32_t inputCount, const DimsExprs*, std::int32_t,
                                     DimsExprs* outputs, std::int32_t outputCount,
                                     nvinfer1::IExprBuilder& builder) noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        outputs[0] = outputShape(inputs, builder);
        return kSuccess;
    });
}

bool Plugin::supportsFormatCombination(std::int32_t position, const DynamicPluginTensorDesc* tensors,
                                       std::int32_t inputCount, std::int32_t outputCount) noexcept {
    return guarded(name_, false, [&] {
        checkCounts(inputCount, outputCount);
        const bool isSupported = supports(position, tensors);
        if (!isSupported || position < inputCount) {
            return isSupported;
        }
        // The output comes last: all types and formats are chosen now.
        const Largest largest(tensors, inputCount, tensors[inputCount]);
        return !largest.areKnown() || isServed(largest.tensors());
    });
}

std::int32_t Plugin::configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                     const DynamicPluginTensorDesc* outputs, std::int32_t outputCount) noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        tactics_.clear();
        const Largest largest(inputs, inputCount, outputs[0]);
        if (largest.areKnown()) {
            checkAll(largest.tensors());
            tactics_ = tacticsFor(largest.tensors());
        }
        return kSuccess;
    });
}

std::size_t Plugin::getWorkspaceSize(const DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                     const DynamicPluginTensorDesc* outputs, std::int32_t outputCount) const noexcept {
    return guarded(name_, std::size_t{0}, [&] {
        checkCounts(inputCount, outputCount);
        return workspaceBytes(Largest(inputs, inputCount, outputs[0]).tensors());
    });
}

const char* Plugin::getTimingCacheID() noexcept {
    return guarded(name_, static_cast<const char*>(nullptr), [&] {
        // Timings of other kernels than these must not be taken for theirs.
        const std::string sources = std::string(EDGEFSA_SOURCE_SHA256).substr(0, 12);
        timingCacheId_ = std::string("edgefsa.") + name_ + "." + kPluginVersion + "." + sources + "." + settings();
        return timingCacheId_.c_str();
    });
}

std::int32_t Plugin::getValidTactics(std::int32_t* tactics, std::int32_t tacticCount) noexcept {
    if (tacticCount != getNbTactics()) {
        return kFailure;
    }
    std::copy(tactics_.begin(), tactics_.end(), tactics);
    return kSuccess;
}

std::int32_t Plugin::setTactic(std::int32_t tactic) noexcept {
    tactic_ = tactic;
    return kSuccess;
}

std::int32_t Plugin::onShapeChange(const PluginTensorDesc* inputs, std::int32_t inputCount,
                                   const PluginTensorDesc* outputs, std::int32_t outputCount) noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        checkAll({inputs, outputs[0]});
        return kSuccess;
    });
}

std::int32_t Plugin::enqueue(const PluginTensorDesc* inputs, const PluginTensorDesc* outputs,
                             const void* const* inputAddresses, void* const* outputAddresses, void* workspace,
                             cudaStream_t stream) noexcept {
    return guarded(name_, kFailure, [&] {
        if (isEmpty(inputs[0])) {
            return kSuccess;
        }
        const cudaError_t status =
            launch({inputs, outputs[0]}, {inputAddresses, outputAddresses[0], workspace}, stream);
        if (status != cudaSuccess) {
            logError(name_, (std::string("the launch failed: ") + cudaGetErrorString(status)).c_str());
            return kFailure;
        }
        return kSuccess;
    });
}

const nvinfer1::PluginFieldCollection* Plugin::getFieldsToSerialize() noexcept {
    return guarded(name_, static_cast<const nvinfer1::PluginFieldCollection*>(nullptr), [&] {
        serialised_ = FieldList();
        listFields(serialised_);
        return serialised_.collection();
    });
}

void Plugin::checkCounts(std::int32_t inputCount, std::int32_t outputCount) const {
    if (inputCount != inputCount_ || outputCount != 1) {
        throw std::invalid_argument("it takes " + std::to_string(inputCount_) + " inputs and gives 1 output, not " +
                                    std::to_string(inputCount) + " and " + std::to_string(outputCount));
    }
}

void Plugin::checkAll(const Tensors& tensors) const {
    check(tensors);
    const PluginTensorDesc& x = tensors.inputs[0];
    if (!isEmpty(x) && !isServed(tensors)) {
        throw std::invalid_argument("no kernel takes TensorRT's type " + std::to_string(static_cast<int>(x.type)) +
                                    " in its format " + std::to_string(static_cast<int>(x.format)) +
                                    " at these shapes on this GPU; its README lists what is served");
    }
}

}  // namespace edgefsa
