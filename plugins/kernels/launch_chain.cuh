// SPDX-License-Identifier: Apache-2.0
// Launches one after another, each of which may begin before the one before it has ended: programmatic dependent
// launch, of compute capability 9.0 on. What a kernel does before it waits then costs no time of its own.
#pragma once

#include <atomic>

#include "common.cuh"
#include "device.h"
#include "overlapping_launches.h"

namespace edgefsa {

// Waits until every earlier launch of the chain has ended and what it wrote is to be seen. Each thread of each kernel
// but the chain's first calls it: before it reads what an earlier one wrote, and before it writes anything.
__device__ __forceinline__ void waitForEarlier() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}

// Lets the next launch of the chain begin once all blocks have called this. The chain's last kernel does not call it.
__device__ __forceinline__ void letNextBegin() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Whether the code that the GPU in use runs waits by itself. Not so what was compiled for an earlier capability and
// translated for this GPU. A stream that is captured takes such launches from CUDA 12.3 on.
inline bool canOverlap(const void* any_kernel) noexcept {
    constexpr int kLeastCuda = 12030, kLeastCapability = 90;
    enum : int { kUnknown, kNo, kYes };
    static std::atomic<int> known[kRememberedDevices] = {};
    int device = 0, driver = 0;
    if (CUDART_VERSION < kLeastCuda || cudaGetDevice(&device) != cudaSuccess) {
        return false;
    }
    const bool is_remembered = device < kRememberedDevices;
    const int found = is_remembered ? known[device].load(std::memory_order_relaxed) : kUnknown;
    if (found != kUnknown) {
        return found == kYes;
    }
    cudaFuncAttributes code = {};
    const bool can = cudaDriverGetVersion(&driver) == cudaSuccess && driver >= kLeastCuda &&
                     cudaFuncGetAttributes(&code, any_kernel) == cudaSuccess && code.ptxVersion >= kLeastCapability;
    if (is_remembered) {
        known[device].store(can ? kYes : kNo, std::memory_order_relaxed);
    }
    return can;
}

class Chain {
  public:
    explicit Chain(cudaStream_t stream) noexcept : stream_(stream) {}

    // As launchKernel. The first launch begins when all that was in the stream before it has ended.
    template <typename... Parameters, typename... Arguments>
    cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                       const Arguments&... arguments) noexcept {
        cudaLaunchAttribute overlap = {};
        overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config = {};
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared_bytes;
        config.stream = stream_;
        config.attrs = &overlap;
        if (!is_first_ && overlapping_launches_allowed.load(std::memory_order_relaxed) &&
            canOverlap(reinterpret_cast<const void*>(kernel))) {
            config.numAttrs = 1;
        }
        is_first_ = false;
        const cudaError_t launched = cudaLaunchKernelEx(&config, kernel, arguments...);
        if (launched != cudaSuccess) {
            cudaGetLastError();  // so that the same error is not told to the next caller again
        }
        return launched;
    }

  private:
    cudaStream_t stream_;
    bool is_first_ = true;
};

}  // namespace edgefsa
