// SPDX-License-Identifier: Apache-2.0
// What the operators share that make a map y out of a map x of the same shape, type and format.
#pragma once

#include <string>

#include "common/plugin.h"
#include "common/tensors.h"

namespace edgefsa {

// x is the first input; all others are float32 and linear. x is float32 linear or float16 linear or kHWC8, and where
// the node has scales it is int8 linear and nothing else: TensorRT would hand over stored values as if they were real
// ones.
class MapPlugin : public Plugin {
  protected:
    static void announceScales(FieldList& fields);

    MapPlugin(const char* name, std::int32_t inputCount, const FieldReader& fields);

    nvinfer1::DataType outputType(const nvinfer1::DataType* inputs) const final { return inputs[0]; }
    nvinfer1::DimsExprs outputShape(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder&) const final {
        return inputs[0];
    }
    bool supports(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors) const final;
    void listScales(FieldList& fields) const;

    // The parameters of a kernel as far as the maps tell them; everything else is zero.
    template <typename Params>
    Params mapParams(const Tensors& tensors) const {
        const nvinfer1::PluginTensorDesc& x = tensors.inputs[0];
        Params params{};
        params.type = kernelType(x.type);
        params.format = kernelFormat(x.format);
        params.x_scale = scaleOf(xScale_, x);
        params.y_scale = scaleOf(yScale_, tensors.output);
        params.batch = extent(x.dims, 0);
        params.channels = extent(x.dims, 1);
        params.height = extent(x.dims, 2);
        params.width = extent(x.dims, 3);
        return params;
    }

  private:
    static float scaleOf(float given, const nvinfer1::PluginTensorDesc& tensor);

    // Of int8 maps: real value = scale * stored value. Both are 0 in a node of floats.
    float xScale_;
    float yScale_;
};

}  // namespace edgefsa
