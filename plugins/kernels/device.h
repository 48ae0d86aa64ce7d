// SPDX-License-Identifier: Apache-2.0
// What launchers ask of the GPU in use, and leave for much shared memory: once for each GPU, not at each launch.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace edgefsa {

struct Device {
    int index;
    int shared_bytes;  // the most dynamic shared memory of a block
    int cache_bytes;   // of the L2 cache
    int multiprocessors;
};

constexpr int kRememberedDevices = 64;  // those beyond are asked each time

template <cudaDeviceAttr ATTRIBUTE>
cudaError_t attributeOf(int device, int* value) noexcept {
    static std::atomic<int> known[kRememberedDevices] = {};  // 0 where it was not asked for; no attribute of these is 0
    const bool is_remembered = device < kRememberedDevices;
    *value = is_remembered ? known[device].load(std::memory_order_relaxed) : 0;
    if (*value != 0) {
        return cudaSuccess;
    }
    const cudaError_t status = cudaDeviceGetAttribute(value, ATTRIBUTE, device);
    if (status == cudaSuccess && is_remembered) {
        known[device].store(*value, std::memory_order_relaxed);
    }
    return status;
}

// The GPU that this thread uses.
inline cudaError_t deviceInUse(Device* device) noexcept {
    cudaError_t status = cudaGetDevice(&device->index);
    if (status == cudaSuccess) {
        status = attributeOf<cudaDevAttrMaxSharedMemoryPerBlockOptin>(device->index, &device->shared_bytes);
    }
    if (status == cudaSuccess) {
        status = attributeOf<cudaDevAttrL2CacheSize>(device->index, &device->cache_bytes);
    }
    if (status == cudaSuccess) {
        status = attributeOf<cudaDevAttrMultiProcessorCount>(device->index, &device->multiprocessors);
    }
    return status;
}

// Lets KERNEL take more than the 48 KB of dynamic shared memory that need no leave. It is given leave for all that the
// device has, and never less: another thread may be about to launch it with more than `bytes`. The leave is remembered,
// since a process has one context on a device: the primary one.
template <auto KERNEL>
cudaError_t allowSharedBytes(std::size_t bytes, const Device& device) noexcept {
    static std::atomic<bool> is_allowed[kRememberedDevices] = {};
    const bool is_remembered = device.index < kRememberedDevices;
    if (bytes <= (48u << 10) || (is_remembered && is_allowed[device.index].load(std::memory_order_acquire))) {
        return cudaSuccess;
    }
    const cudaError_t status =
        cudaFuncSetAttribute(KERNEL, cudaFuncAttributeMaxDynamicSharedMemorySize, device.shared_bytes);
    if (status == cudaSuccess && is_remembered) {
        is_allowed[device.index].store(true, std::memory_order_release);
    }
    return status;
}

// The blocks of KERNEL that a multiprocessor runs at once by its registers, threads and shared memory, for which leave
// is given as above; 0 where a block does not fit. It is asked for where the launch before on this device had other
// sizes.
template <auto KERNEL>
cudaError_t blocksAtOnce(int threads, std::size_t shared_bytes, const Device& device, int* blocks) noexcept {
    // The sizes, and in the last 8 bits the answer.
    static std::atomic<std::uint64_t> known[kRememberedDevices] = {};
    *blocks = 0;
    if (shared_bytes > static_cast<std::size_t>(device.shared_bytes)) {
        return cudaSuccess;
    }
    const bool is_remembered = device.index < kRememberedDevices;
    const std::uint64_t sizes = (static_cast<std::uint64_t>(shared_bytes) << 32) | static_cast<std::uint64_t>(threads)
                                                                                       << 8;
    const std::uint64_t last = is_remembered ? known[device.index].load(std::memory_order_relaxed) : 0;
    if ((last & ~std::uint64_t{255}) == sizes) {
        *blocks = static_cast<int>(last & 255);
        return cudaSuccess;
    }
    cudaError_t status = allowSharedBytes<KERNEL>(shared_bytes, device);
    if (status == cudaSuccess) {
        status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, KERNEL, threads, shared_bytes);
    }
    if (status == cudaSuccess && is_remembered) {
        known[device.index].store(sizes | static_cast<std::uint64_t>(*blocks), std::memory_order_relaxed);
    }
    return status;
}

}  // namespace edgefsa
