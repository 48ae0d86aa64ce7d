// SPDX-License-Identifier: Apache-2.0
// Messages of the plugins, through whichever TensorRT logger there is.
#pragma once

#include <NvInferRuntime.h>

#include <exception>

namespace edgefsa {

// Remembers the finder that IPluginRegistry::loadLibrary hands over; it knows the logger of the calling engine.
void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;

// Logs "edgefsa NAME: MESSAGE" as an error: through the finder, else TensorRT's global logger, else stderr.
void logError(const char* name, const char* message) noexcept;

// Runs `body` and gives what it returns; an exception is logged under `name` and gives `failed` instead.
template <typename Result, typename Body>
Result guarded(const char* name, Result failed, Body&& body) noexcept {
    try {
        return body();
    } catch (const std::exception& error) {
        logError(name, error.what());
    } catch (...) {
        logError(name, "an exception of unknown type");
    }
    return failed;
}

}  // namespace edgefsa
