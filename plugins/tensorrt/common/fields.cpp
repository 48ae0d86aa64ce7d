// SPDX-License-Identifier: Apache-2.0
#include "common/fields.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace edgefsa {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

// Field data come out of an engine's bytes, at any alignment.
template <typename T>
T first(const PluginField& field) {
    T value;
    std::memcpy(&value, field.data, sizeof(value));
    return value;
}

[[noreturn]] void reject(const PluginField& field, const char* wanted) {
    throw std::invalid_argument(std::string("the attribute ") + field.name + " has to be " + wanted +
                                "; export the model again");
}

void checkScalar(const PluginField& field, const char* wanted) {
    if (field.data == nullptr || field.length != 1) {
        reject(field, wanted);
    }
}

}  // namespace

FieldReader::FieldReader(const nvinfer1::PluginFieldCollection* fields) : fields_(fields) {
    const std::int32_t count = fields_ == nullptr ? 0 : fields_->nbFields;
    if (count > 0 && fields_->fields == nullptr) {
        throw std::invalid_argument("the list of its " + std::to_string(count) + " attributes is null; hand it over");
    }
    for (std::int32_t i = 0; i < count; ++i) {
        if (fields_->fields[i].name == nullptr) {
            throw std::invalid_argument("attribute " + std::to_string(i) + " of " + std::to_string(count) +
                                        " has no name; give each of them one");
        }
    }
}

const PluginField* FieldReader::find(const char* name) const {
    for (std::int32_t i = 0; fields_ != nullptr && i < fields_->nbFields; ++i) {
        if (std::strcmp(fields_->fields[i].name, name) == 0) {
            return &fields_->fields[i];
        }
    }
    return nullptr;
}

const PluginField& FieldReader::require(const char* name) const {
    if (const PluginField* field = find(name)) {
        return *field;
    }
    throw std::invalid_argument(std::string("the attribute ") + name + " is missing; export the model again");
}

int FieldReader::integer(const char* name) const {
    const PluginField& field = require(name);
    checkScalar(field, "one integer");
    if (field.type == PluginFieldType::kINT32) {
        return first<std::int32_t>(field);
    }
    if (field.type == PluginFieldType::kINT64) {
        const std::int64_t value = first<std::int64_t>(field);
        if (value != static_cast<int>(value)) {
            reject(field, "one integer of 32 bits");
        }
        return static_cast<int>(value);
    }
    reject(field, "one integer");
}

int FieldReader::integer(const char* name, int otherwise) const {
    return find(name) == nullptr ? otherwise : integer(name);
}

float FieldReader::real(const char* name) const {
    const PluginField& field = require(name);
    checkScalar(field, "one float");
    if (field.type == PluginFieldType::kFLOAT32) {
        return first<float>(field);
    }
    if (field.type == PluginFieldType::kFLOAT64) {
        return static_cast<float>(first<double>(field));
    }
    reject(field, "one float");
}

float FieldReader::real(const char* name, float otherwise) const {
    return find(name) == nullptr ? otherwise : real(name);
}

std::string FieldReader::text(const char* name) const {
    const PluginField& field = require(name);
    if (field.type != PluginFieldType::kCHAR || field.data == nullptr || field.length < 1) {
        reject(field, "a text");
    }
    // The parser counts the closing zero, a Python caller may not write one.
    const char* const data = static_cast<const char*>(field.data);
    return std::string(data, strnlen(data, static_cast<std::size_t>(field.length)));
}

void FieldList::add(const char* name, const int& value) {
    fields_.emplace_back(name, &value, PluginFieldType::kINT32, 1);
}

void FieldList::add(const char* name, const float& value) {
    fields_.emplace_back(name, &value, PluginFieldType::kFLOAT32, 1);
}

void FieldList::add(const char* name, const std::string& value) {
    fields_.emplace_back(name, value.c_str(), PluginFieldType::kCHAR, static_cast<std::int32_t>(value.size()) + 1);
}

void FieldList::announce(const char* name, PluginFieldType type) { fields_.emplace_back(name, nullptr, type, 1); }

const nvinfer1::PluginFieldCollection* FieldList::collection() noexcept {
    collection_.nbFields = static_cast<std::int32_t>(fields_.size());
    collection_.fields = fields_.data();
    return &collection_;
}

}  // namespace edgefsa
