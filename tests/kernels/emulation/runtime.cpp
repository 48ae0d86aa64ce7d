// CUDA's runtime API over the scheduler, with a device's limits, and the C functions that Python controls it by.

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "faults.h"
#include "memory.h"
#include "scheduler.h"

namespace emulation {
namespace {

constexpr int kDefaultSharedBytes = 48 << 10;
constexpr unsigned int kMaxThreads = 1024;
constexpr int kOverlapCapability = 90;

// What cudaDeviceGetAttribute tells; a test sets another device's by emulationSetDevice.
struct Device {
    int shared_bytes_optin = 227 << 10;
    int multiprocessors = 4;
    int capability = 90;
    int cache_bytes = 64 << 10;  // small, so that a few planes fill it

    bool operator<(const Device& other) const { return key() < other.key(); }
    std::tuple<int, int, int, int> key() const {
        return {shared_bytes_optin, multiprocessors, capability, cache_bytes};
    }

    // By "Technical specifications per compute capability" of the CUDA C++ programming guide.
    int reservedBytes() const { return capability < 80 ? 0 : 1024; }
    int sharedBytes() const { return shared_bytes_optin + reservedBytes(); }
    int threads() const {
        const bool has_many = capability == 80 || capability == 90 || capability == 100 || capability == 103;
        return capability < 80 ? 1024 : has_many ? 2048 : 1536;
    }
};

// The registers of a kernel are the device compiler's to choose. Here a block of 256 threads takes a third of them, as
// most kernels are bound to; other blocks in proportion.
constexpr int kRegisterThreads = 3 * 256;

// Each set of limits that tests ask for is a GPU of its own; kernels have their limits on each, as on devices.
Device device;
int ordinal = 0;
int asked = 0;
int fills = 0;
std::map<Device, int> ordinals = {{Device(), 0}};
std::map<std::pair<int, const void*>, int> shared_limits;
cudaError_t last = cudaSuccess;
std::vector<int> block_counts;  // of each launch
int overlapping = 0;            // of them, those that may begin before the one before has ended

cudaError_t report(cudaError_t error) {
    if (error != cudaSuccess) {
        last = error;
    }
    return error;
}

bool fits(dim3 grid, dim3 block) {
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    const bool isBlock = threads >= 1 && threads <= kMaxThreads && block.z <= 64;
    return isBlock && grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.x <= INT32_MAX && grid.y <= 65535 &&
           grid.z <= 65535;
}

}  // namespace

cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
    const std::size_t shared_bytes = config.dynamicSmemBytes;
    if (!errorText().empty()) {
        return report(cudaErrorIllegalAddress);
    }
    const auto limit = shared_limits.find({ordinal, kernel});
    const int limit_bytes = limit == shared_limits.end() ? kDefaultSharedBytes : limit->second;
    if (!fits(config.gridDim, config.blockDim)) {
        return report(cudaErrorInvalidConfiguration);
    }
    if (shared_bytes > static_cast<std::size_t>(limit_bytes)) {
        return report(cudaErrorInvalidValue);
    }
    const bool overlaps = config.numAttrs == 1 && config.attrs->val.programmaticStreamSerializationAllowed != 0;
    if (overlaps && device.capability < kOverlapCapability) {
        return report(cudaErrorInvalidValue);
    }
    block_counts.push_back(static_cast<int>(config.gridDim.x * config.gridDim.y * config.gridDim.z));
    overlapping += overlaps ? 1 : 0;
    {
        const FaultCatcher catcher;
        runGrid(config.gridDim, config.blockDim, shared_bytes, thread, overlaps);
    }
    // As on a device, a failure shows at the next call that reports one.
    if (!errorText().empty()) {
        last = cudaErrorIllegalAddress;
    }
    return cudaSuccess;
}

cudaError_t setSharedLimit(const void* kernel, int bytes) {
    ++asked;
    if (bytes < 0 || bytes > device.shared_bytes_optin) {
        return report(cudaErrorInvalidValue);
    }
    shared_limits[{ordinal, kernel}] = bytes;
    return cudaSuccess;
}

cudaError_t blocksAtOnce(int* blocks, const void* kernel, int threads, std::size_t shared_bytes) {
    ++asked;
    const auto limit = shared_limits.find({ordinal, kernel});
    const int limit_bytes = limit == shared_limits.end() ? kDefaultSharedBytes : limit->second;
    const std::size_t by_memory =
        device.sharedBytes() / std::max(shared_bytes + device.reservedBytes(), std::size_t{1});
    const int by_threads = std::min(device.threads(), kRegisterThreads) / threads;
    *blocks = shared_bytes > static_cast<std::size_t>(limit_bytes) ? 0 : std::min<int>(by_memory, by_threads);
    return cudaSuccess;
}

}  // namespace emulation

extern "C" {

int emulationPlanted = 0;

cudaError_t cudaPeekAtLastError() { return emulation::last; }

cudaError_t cudaGetLastError() {
    const cudaError_t error = emulation::last;
    emulation::last = cudaSuccess;
    return error;
}

cudaError_t cudaGetDevice(int* device) {
    *device = emulation::ordinal;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

// As if the kernels had been compiled for this device.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    ++emulation::asked;
    attributes->ptxVersion = emulation::device.capability;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    ++emulation::asked;
    const std::map<cudaDeviceAttr, int> values = {
        {cudaDevAttrMaxThreadsPerBlock, static_cast<int>(emulation::kMaxThreads)},
        {cudaDevAttrMaxSharedMemoryPerBlock, emulation::kDefaultSharedBytes},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, emulation::device.shared_bytes_optin},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, emulation::device.sharedBytes()},
        {cudaDevAttrL2CacheSize, emulation::device.cache_bytes},
        {cudaDevAttrMultiProcessorCount, emulation::device.multiprocessors},
        {cudaDevAttrComputeCapabilityMajor, emulation::device.capability / 10},
        {cudaDevAttrComputeCapabilityMinor, emulation::device.capability % 10},
    };
    const auto found = values.find(attribute);
    if (found == values.end()) {
        return emulation::report(cudaErrorInvalidValue);
    }
    *value = found->second;
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    ++emulation::fills;
    std::memset(memory, value, bytes);
    return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "an error of the emulated runtime";
}

void emulationSetDevice(int shared_bytes_optin, int multiprocessors, int capability, int cache_bytes) {
    emulation::device = {shared_bytes_optin, multiprocessors, capability, cache_bytes};
    const int next = static_cast<int>(emulation::ordinals.size());
    emulation::ordinal = emulation::ordinals.insert({emulation::device, next}).first->second;
}

void emulationSetOrder(int order, unsigned int seed) {
    emulation::setOrder(static_cast<emulation::Order>(order), seed);
}

void* emulationAllocate(const char* name, std::size_t bytes, int placement) {
    return emulation::allocate(name, bytes, static_cast<emulation::Placement>(placement));
}

void emulationMakeReadOnly(void* data) { emulation::makeReadOnly(data); }

// Frees all buffers and forgets errors.
void emulationReset() {
    emulation::freeAll();
    emulation::clearError();
    emulation::last = cudaSuccess;
    emulation::block_counts.clear();
    emulation::fills = 0;
    emulation::overlapping = 0;
}

int emulationLaunches() { return static_cast<int>(emulation::block_counts.size()); }
int emulationBlocks(int launch) { return emulation::block_counts[static_cast<std::size_t>(launch)]; }
int emulationOverlapping() { return emulation::overlapping; }

// How often memory was filled, since the last reset.
int emulationFills() { return emulation::fills; }

// How often a device's or a kernel's attributes were asked for or set, ever.
int emulationAttributeCalls() { return emulation::asked; }

// What went wrong so far, empty for nothing; valid until the next call.
const char* emulationError() {
    static std::string text;
    text = emulation::errorText().empty() ? emulation::damage() : emulation::errorText();
    return text.c_str();
}

// Where in this library's file the failing instruction lies, 0 where that is unknown: for addr2line.
std::size_t emulationErrorOffset() {
    Dl_info info = {};
    const void* address = emulation::errorAddress();
    if (address == nullptr || dladdr(address, &info) == 0) {
        return 0;
    }
    return static_cast<std::size_t>(static_cast<const char*>(address) - static_cast<const char*>(info.dli_fbase));
}
}
