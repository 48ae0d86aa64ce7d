// SPDX-License-Identifier: Apache-2.0
// Operators on maps whose other inputs are weights: one table says what they are called, how large they are and where
// the kernel takes them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/map_plugin.h"

namespace edgefsa {

// An extent of a weight: a size among the kernel's parameters, or the product of two.
template <typename Params>
struct Extent {
    int Params::* size = nullptr;
    int Params::* times = nullptr;
};

// An input behind x, float32 and linear: a vector, or a matrix where there is a second extent.
template <typename Params>
struct Weight {
    const char* name;
    const float* Params::* address;
    Extent<Params> shape[2];
    bool can_be_left_out = false;  // a square matrix: [[1]] stands for the identity, and the kernel gets no address

    int rank() const { return shape[1].size == nullptr ? 1 : 2; }
};

// The operator's own isServed, which a class with a function of that name does not see.
template <typename Params>
bool haveKernels(const Params& params) {
    return isServed(params);
}

// `Params` are the parameters of the kernel. A size that the maps do not tell is that of the first weight which has it.
template <typename Params>
class WeightedPlugin : public MapPlugin {
  protected:
    // `weights`, in the order of the ONNX node, live as long as the program.
    template <std::size_t COUNT>
    WeightedPlugin(const char* name, const Weight<Params> (&weights)[COUNT], const FieldReader& fields)
        : MapPlugin(name, static_cast<std::int32_t>(1 + COUNT), fields), weights_(weights), count_(COUNT) {}

    // Throws std::invalid_argument where the kernel has no room for these sizes.
    virtual void checkSizes(const Params& params) const = 0;
    virtual void addAttributes(Params&) const {}
    virtual std::vector<std::int32_t> tacticsOf(const Params&) const { return {}; }
    virtual std::size_t workspaceOf(const Params& params) const = 0;
    virtual cudaError_t launchKernels(const Params& params, void* workspace, cudaStream_t stream) const = 0;

    void check(const Tensors& tensors) const final {
        requireRank("x", tensors.inputs[0], 4);
        for (std::size_t i = 0; i < count_; ++i) {
            requireRank(weights_[i].name, tensors.inputs[1 + i], weights_[i].rank());
        }
        const Params params = paramsOf(tensors);
        checkSizes(params);
        for (std::size_t i = 0; i < count_; ++i) {
            if (!isLeftOut(i, tensors, params)) {
                requireShape(weights_[i].name, tensors.inputs[1 + i], shapeOf(weights_[i], params));
            }
        }
        requireShape("y", tensors.output, {params.batch, params.channels, params.height, params.width});
    }

    bool isServed(const Tensors& tensors) const final { return haveKernels(paramsOf(tensors)); }

    std::vector<std::int32_t> tacticsFor(const Tensors& tensors) const final { return tacticsOf(paramsOf(tensors)); }

    std::size_t workspaceBytes(const Tensors& tensors) const final { return workspaceOf(paramsOf(tensors)); }

    cudaError_t launch(const Tensors& tensors, const Addresses& addresses, cudaStream_t stream) const final {
        Params params = paramsOf(tensors);
        params.x = addresses.inputs[0];
        params.y = addresses.output;
        for (std::size_t i = 0; i < count_; ++i) {
            params.*weights_[i].address =
                isLeftOut(i, tensors, params) ? nullptr : static_cast<const float*>(addresses.inputs[1 + i]);
        }
        return launchKernels(params, addresses.workspace, stream);
    }

  private:
    // Everything but the addresses.
    Params paramsOf(const Tensors& tensors) const {
        Params params = mapParams<Params>(tensors);
        for (std::size_t i = 0; i < count_; ++i) {
            for (int axis = 0; axis < weights_[i].rank(); ++axis) {
                const Extent<Params>& wanted = weights_[i].shape[axis];
                if (wanted.times == nullptr && params.*wanted.size == 0) {
                    params.*wanted.size = extent(tensors.inputs[1 + i].dims, axis);
                }
            }
        }
        addAttributes(params);
        return params;
    }

    bool isLeftOut(std::size_t i, const Tensors& tensors, const Params& params) const {
        const nvinfer1::Dims& dims = tensors.inputs[1 + i].dims;
        if (!weights_[i].can_be_left_out || extent(dims, 0) != 1 || extent(dims, 1) != 1) {
            return false;
        }
        const std::vector<int> shape = shapeOf(weights_[i], params);
        return shape[0] == shape[1] && shape[0] != 1;
    }

    static std::vector<int> shapeOf(const Weight<Params>& weight, const Params& params) {
        std::vector<int> shape;
        for (int axis = 0; axis < weight.rank(); ++axis) {
            const Extent<Params>& wanted = weight.shape[axis];
            shape.push_back(params.*wanted.size * (wanted.times == nullptr ? 1 : params.*wanted.times));
        }
        return shape;
    }

    const Weight<Params>* weights_;
    std::size_t count_;
};

}  // namespace edgefsa
