// SPDX-License-Identifier: Apache-2.0
// A plugin's attributes: read from what TensorRT's ONNX parser or a serialised engine gives, and handed back.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

namespace edgefsa {

// Reads fields by name. Throws std::invalid_argument naming a field that is missing, or has another type or length.
class FieldReader {
  public:
    explicit FieldReader(const nvinfer1::PluginFieldCollection* fields);

    int integer(const char* name) const;
    int integer(const char* name, int otherwise) const;
    float real(const char* name) const;
    float real(const char* name, float otherwise) const;
    std::string text(const char* name) const;

  private:
    const nvinfer1::PluginField* find(const char* name) const;
    const nvinfer1::PluginField& require(const char* name) const;

    const nvinfer1::PluginFieldCollection* fields_;  // null where the caller has none
};

// A list of fields that refers to values which live as long as the plugin or creator that owns them.
class FieldList {
  public:
    void add(const char* name, const int& value);
    void add(const char* name, const float& value);
    void add(const char* name, const std::string& value);
    // Only the name and the type, as a creator announces it.
    void announce(const char* name, nvinfer1::PluginFieldType type);

    const nvinfer1::PluginFieldCollection* collection() noexcept;

  private:
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace edgefsa
