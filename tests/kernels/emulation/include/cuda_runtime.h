// CUDA's language extensions, for the host: qualifiers, built-in variables, barriers, warp operations, intrinsics.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)
#define __constant__
// Blocks run one after another in one thread, so what a block shares is a variable of that thread. The emulator
// fills all of them with NaN before each block.
#define __shared__ thread_local
// The launch's dynamic shared memory is declared once, as `extern __shared__ uint4 dynamic_shared_memory[]` in
// namespace edgefsa. Here it is where this pointer points: flush against a guard page.
#define dynamic_shared_memory (*emulated_shared_memory)

// As the device's: of a number and a NaN, the number.
template <typename T>
inline T max(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
        return std::fmax(a, b);
    } else {
        return a < b ? b : a;
    }
}
template <typename T>
inline T min(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
        return std::fmin(a, b);
    } else {
        return b < a ? b : a;
    }
}

// The number of the planted mistake that is to be made, 0 for none (see the fixture `plant`).
extern "C" int emulationPlanted;

extern const int warpSize;
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

namespace emulation {
void blockBarrier();
void warpBarrier(unsigned int mask);
void waitForEarlierLaunch();
// Gives the 32 lanes' 8-byte values once each lane of the mask has handed in its own; valid until its next call.
const std::uint64_t* exchange(unsigned int mask, std::uint64_t value);
int lane();
// Ends a kernel that waits for another block: where blocks run one after another, that one will never run.
[[noreturn]] void failWaiting();

template <typename To, typename From>
inline To bitCast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

template <typename T>
inline T valueOf(unsigned int mask, T value, int source) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    const std::uint64_t* lanes = exchange(mask, bits);
    std::memcpy(&value, &lanes[source], sizeof(T));
    return value;
}
}  // namespace emulation

inline void __syncthreads() { emulation::blockBarrier(); }
inline void __syncwarp(unsigned int mask = 0xffffffffu) { emulation::warpBarrier(mask); }
inline void __nanosleep(unsigned int) { emulation::failWaiting(); }
inline void cudaGridDependencySynchronize() { emulation::waitForEarlierLaunch(); }
inline void cudaTriggerProgrammaticLaunchCompletion() {}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
inline T __shfl_sync(unsigned int mask, T value, int source, int width = 32) {
    return emulation::valueOf(mask, value, (emulation::lane() & ~(width - 1)) | (source & (width - 1)));
}
template <typename T>
inline T __shfl_xor_sync(unsigned int mask, T value, int lanes, int width = 32) {
    const int source = emulation::lane() ^ lanes;
    const bool outside = (source & ~(width - 1)) > (emulation::lane() & ~(width - 1));
    return emulation::valueOf(mask, value, outside ? emulation::lane() : source);
}
template <typename T>
inline T __shfl_down_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
    const int lane = emulation::lane();
    const bool inside = (lane & (width - 1)) + static_cast<int>(delta) < width;
    return emulation::valueOf(mask, value, inside ? lane + static_cast<int>(delta) : lane);
}
template <typename T>
inline T __shfl_up_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
    const int lane = emulation::lane();
    const bool inside = (lane & (width - 1)) >= static_cast<int>(delta);
    return emulation::valueOf(mask, value, inside ? lane - static_cast<int>(delta) : lane);
}
inline unsigned int __ballot_sync(unsigned int mask, int predicate) {
    const std::uint64_t* lanes = emulation::exchange(mask, predicate != 0);
    unsigned int votes = 0;
    for (int i = 0; i < 32; ++i) {
        votes |= ((mask >> i & 1u) && lanes[i] != 0) ? 1u << i : 0u;
    }
    return votes;
}
inline int __any_sync(unsigned int mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned int mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <typename T>
inline T __ldg(const T* address) {
    return *address;
}
template <typename T>
inline T __ldcs(const T* address) {
    return *address;
}
template <typename T>
inline T __ldcg(const T* address) {
    return *address;
}
template <typename T>
inline void __stcs(T* address, T value) {
    *address = value;
}
template <typename T>
inline void __stcg(T* address, T value) {
    *address = value;
}

template <typename T>
inline T atomicAdd(T* address, T value) {
    const T before = *address;
    *address = before + value;
    return before;
}
template <typename T>
inline T atomicMax(T* address, T value) {
    const T before = *address;
    *address = max(before, value);
    return before;
}

inline float __int_as_float(int bits) { return emulation::bitCast<float>(bits); }
inline int __float_as_int(float value) { return emulation::bitCast<int>(value); }
inline float __uint_as_float(unsigned int bits) { return emulation::bitCast<float>(bits); }
inline unsigned int __float_as_uint(float value) { return emulation::bitCast<unsigned int>(value); }
// Conversions saturate and give 0 for NaN, as the device's do.
inline int __float2int_rn(float value) {
    const double rounded = std::nearbyint(value);
    return std::isnan(value) ? 0 : static_cast<int>(std::fmin(std::fmax(rounded, INT32_MIN), INT32_MAX));
}
inline int __float2int_rd(float value) { return __float2int_rn(std::floor(value)); }
inline int __float2int_rz(float value) { return __float2int_rn(std::trunc(value)); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float value) { return 1.0f / value; }
inline float __fsqrt_rn(float value) { return std::sqrt(value); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __expf(float value) { return std::exp(value); }
inline float __saturatef(float value) { return std::isnan(value) ? 0.0f : min(max(value, 0.0f), 1.0f); }
inline int __popc(unsigned int value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(static_cast<unsigned int>(value)); }
inline unsigned int __umulhi(unsigned int a, unsigned int b) {
    return static_cast<unsigned int>(static_cast<std::uint64_t>(a) * b >> 32);
}
