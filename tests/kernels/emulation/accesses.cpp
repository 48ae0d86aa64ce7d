// Records accesses to dynamic shared memory. Kernels that are compiled with -fsanitize=kernel-address, and all checks
// as calls, call these functions before each access to memory.
#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "memory.h"

namespace {

// As run.py reads it.
struct Access {
    std::uint64_t code;
    std::uint32_t offset;
    std::uint16_t thread;
    std::uint16_t bytes;
};

bool is_recording = false;
std::vector<Access> accesses;

// Of the first block only: all blocks address their own shared memory alike.
void record(std::uintptr_t address, std::size_t bytes, const void* code) {
    const std::ptrdiff_t offset = emulation::sharedOffset(reinterpret_cast<const void*>(address));
    if (is_recording && offset >= 0 && blockIdx.x + blockIdx.y + blockIdx.z == 0) {
        const unsigned int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        accesses.push_back({reinterpret_cast<std::uint64_t>(code), static_cast<std::uint32_t>(offset),
                            static_cast<std::uint16_t>(thread), static_cast<std::uint16_t>(bytes)});
    }
}

}  // namespace

extern "C" {

#define EMULATED_ACCESSES(bytes)                                                                                       \
    void __asan_load##bytes##_noabort(std::uintptr_t address) { record(address, bytes, __builtin_return_address(0)); } \
    void __asan_store##bytes##_noabort(std::uintptr_t address) { record(address, bytes, __builtin_return_address(0)); }
EMULATED_ACCESSES(1)
EMULATED_ACCESSES(2)
EMULATED_ACCESSES(4)
EMULATED_ACCESSES(8)
EMULATED_ACCESSES(16)
void __asan_loadN_noabort(std::uintptr_t address, std::size_t bytes) {
    record(address, bytes, __builtin_return_address(0));
}
void __asan_storeN_noabort(std::uintptr_t address, std::size_t bytes) {
    record(address, bytes, __builtin_return_address(0));
}
void __asan_handle_no_return() {}

// Forgets what was recorded, and records from here on or not.
void emulationRecordAccesses(int recording) {
    is_recording = recording != 0;
    accesses.clear();
}

std::size_t emulationAccessCount() { return accesses.size(); }
const void* emulationAccesses() { return accesses.data(); }
}
