// SPDX-License-Identifier: Apache-2.0
// The one list of plugins, and the entry points that TensorRT looks for in a plugin library.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>

#define EDGEFSA_EXPORT __attribute__((visibility("default")))

// Gives the plugin creators; IPluginRegistry::loadLibrary registers them.
extern "C" EDGEFSA_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) noexcept;

// Takes what finds the logger of the engine that calls a plugin.
extern "C" EDGEFSA_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;
