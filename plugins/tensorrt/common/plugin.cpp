#include "common/plugin.h"

#include <stdexcept>
#include <vector>

#include "common/logging.h"

namespace edgefsa {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr std::int32_t kSuccess = 0;
constexpr std::int32_t kFailure = 1;

// The largest shapes of the profile, which size the workspace. A dimension that is not known yet is -1.
PluginTensorDesc atLargest(const DynamicPluginTensorDesc& tensor) {
    PluginTensorDesc largest = tensor.desc;
    largest.dims = tensor.max;
    return largest;
}

bool isKnown(const nvinfer1::Dims& dims) {
    for (std::int32_t i = 0; i < dims.nbDims; ++i) {
        if (dims.d[i] < 0) {
            return false;
        }
    }
    return dims.nbDims >= 0;
}

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
        return supports(position, tensors);
    });
}

std::int32_t Plugin::configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                     const DynamicPluginTensorDesc* outputs, std::int32_t outputCount) noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        std::vector<PluginTensorDesc> largest;
        for (std::int32_t i = 0; i < inputCount; ++i) {
            largest.push_back(atLargest(inputs[i]));
            if (!isKnown(largest.back().dims)) {
                return kSuccess;
            }
        }
        PluginTensorDesc output = atLargest(outputs[0]);
        check({largest.data(), output});
        return kSuccess;
    });
}

std::size_t Plugin::getWorkspaceSize(const DynamicPluginTensorDesc* inputs, std::int32_t inputCount,
                                     const DynamicPluginTensorDesc* outputs, std::int32_t outputCount) const noexcept {
    return guarded(name_, std::size_t{0}, [&] {
        checkCounts(inputCount, outputCount);
        std::vector<PluginTensorDesc> largest;
        for (std::int32_t i = 0; i < inputCount; ++i) {
            largest.push_back(atLargest(inputs[i]));
        }
        PluginTensorDesc output = atLargest(outputs[0]);
        return workspaceBytes({largest.data(), output});
    });
}

const char* Plugin::getTimingCacheID() noexcept {
    return guarded(name_, static_cast<const char*>(nullptr), [&] {
        timingCacheId_ = std::string("edgefsa.") + name_ + "." + kPluginVersion + "." + settings();
        return timingCacheId_.c_str();
    });
}

std::int32_t Plugin::onShapeChange(const PluginTensorDesc* inputs, std::int32_t inputCount,
                                   const PluginTensorDesc* outputs, std::int32_t outputCount) noexcept {
    return guarded(name_, kFailure, [&] {
        checkCounts(inputCount, outputCount);
        check({inputs, outputs[0]});
        return kSuccess;
    });
}

std::int32_t Plugin::enqueue(const PluginTensorDesc* inputs, const PluginTensorDesc* outputs,
                             const void* const* inputAddresses, void* const* outputAddresses, void* workspace,
                             cudaStream_t stream) noexcept {
    return guarded(name_, kFailure, [&] {
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

}  // namespace edgefsa
