// SPDX-License-Identifier: Apache-2.0
#include "common/logging.h"

#include <atomic>
#include <cstdio>

// Weak: the library then needs nothing of TensorRT at load time, so it neither links libnvinfer nor cares which of its
// files (a package's or a wheel's) the process has loaded.
extern "C" TENSORRTAPI nvinfer1::ILogger* getLogger() noexcept __attribute__((weak));

namespace edgefsa {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> loggerFinder{nullptr};

nvinfer1::ILogger* findLogger() {
    if (nvinfer1::ILoggerFinder* const finder = loggerFinder.load()) {
        if (nvinfer1::ILogger* const logger = finder->findLogger()) {
            return logger;
        }
    }
    return getLogger != nullptr ? getLogger() : nullptr;
}

}  // namespace

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept { loggerFinder.store(finder); }

void logError(const char* name, const char* message) noexcept {
    char text[1024];
    std::snprintf(text, sizeof(text), "edgefsa %s: %s", name, message);
    try {
        if (nvinfer1::ILogger* const logger = findLogger()) {
            logger->log(nvinfer1::ILogger::Severity::kERROR, text);
            return;
        }
    } catch (...) {  // findLogger is not noexcept; the message still has to go somewhere
    }
    std::fprintf(stderr, "%s\n", text);
}

}  // namespace edgefsa
