// SPDX-License-Identifier: Apache-2.0
// Device helpers that several operators share: vector accesses, conversions, sums within a warp, launch checks.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace edgefsa {

constexpr int kWarpSize = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

template <typename Integer>
__host__ __device__ constexpr Integer ceilDiv(Integer value, Integer divisor) {
    return (value + divisor - 1) / divisor;
}

template <typename Integer>
__host__ __device__ constexpr Integer roundUp(Integer value, Integer multiple) {
    return ceilDiv(value, multiple) * multiple;
}

// The launch's dynamic shared memory, aligned to 16 bytes. Every kernel takes it from here.
template <typename T>
__device__ __forceinline__ T* dynamicShared() {
    extern __shared__ uint4 dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}

#ifndef __CUDACC_RTC__  // NVRTC compiles kernels alone
// kernel<<<grid, block, shared_bytes, stream>>>(arguments...) as a call, which a host's compiler can read too.
template <typename... Parameters, typename... Arguments>
cudaError_t launchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                         cudaStream_t stream, const Arguments&... arguments) noexcept {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    const cudaError_t launched = cudaLaunchKernelEx(&config, kernel, arguments...);
    if (launched != cudaSuccess) {
        cudaGetLastError();  // so that the same error is not told to the next caller again
    }
    return launched;
}
#endif

// COUNT neighbouring elements, moved in one access; its address must be a multiple of its size.
template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T values[COUNT];
};

template <int COUNT, typename T>
__device__ __forceinline__ Pack<T, COUNT> loadPack(const T* address) {
    return *reinterpret_cast<const Pack<T, COUNT>*>(address);
}

template <int COUNT, typename T>
__device__ __forceinline__ void storePack(T* address, const Pack<T, COUNT>& pack) {
    *reinterpret_cast<Pack<T, COUNT>*>(address) = pack;
}

// storePack of 16 bytes to global memory, for values that a compiler may otherwise write one word at a time.
template <int COUNT, typename T>
__device__ __forceinline__ void storeGlobal(T* address, const Pack<T, COUNT>& pack) {
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(Pack<T, COUNT>) == 16) {
        uint4 words;
        memcpy(&words, &pack, sizeof(words));
        asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)), "r"(words.x),
                     "r"(words.y), "r"(words.z), "r"(words.w)
                     : "memory");
        return;
    }
#endif
    storePack(address, pack);
}

// Whether every run of `count` elements that starts at a multiple of `count` in every row can be moved in one access.
inline bool rowsAreAligned(const void* address, std::size_t bytes_per_element, int row_length, int count) noexcept {
    return row_length % count == 0 && reinterpret_cast<std::uintptr_t>(address) % (bytes_per_element * count) == 0;
}

// Asks the L2 cache for the first of the bytes that a block is going to read, so that they are on their way while it
// prepares. All of its threads call this; 16 KB for each of the blocks at work are what a memory has in flight.
__device__ __forceinline__ void prefetchForBlock([[maybe_unused]] const void* start,
                                                 [[maybe_unused]] std::size_t bytes) {
#ifdef __CUDA_ARCH__
    constexpr std::size_t kLine = 128, kMostBytes = 16 << 10;
    for (std::size_t offset = threadIdx.x * kLine; offset < bytes && offset < kMostBytes;
         offset += blockDim.x * kLine) {
        asm volatile("prefetch.L2 [%0];" ::"l"(static_cast<const char*>(start) + offset));
    }
#endif
}

__device__ __forceinline__ float toFloat(float value) { return value; }
__device__ __forceinline__ float toFloat(__half value) { return __half2float(value); }
__device__ __forceinline__ float toFloat(std::int8_t value) {
    // An integer-to-float conversion runs at an eighth of an addition's rate: place the byte in the mantissa instead.
    return __uint_as_float(0x4B000000u | (static_cast<unsigned>(value) + 128u)) - (8388608.0f + 128.0f);
}

template <typename T>
__device__ __forceinline__ T fromFloat(float value);

template <>
__device__ __forceinline__ float fromFloat<float>(float value) {
    return value;
}

template <>
__device__ __forceinline__ __half fromFloat<__half>(float value) {
    return __float2half_rn(value);
}

// Rounds to nearest, ties to even, and saturates at -128 and 127; a NaN becomes -128.
template <>
__device__ __forceinline__ std::int8_t fromFloat<std::int8_t>(float value) {
    const float clamped = fminf(fmaxf(value, -128.0f), 127.0f);
    return static_cast<std::int8_t>(__float_as_uint(clamped + 12582912.0f) & 0xffu);
}

// The sum over the 32 lanes, in every lane; all lanes of the warp must call it.
__device__ __forceinline__ float warpSum(float value) {
#pragma unroll
    for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(kWholeWarp, value, distance);
    }
    return value;
}

}  // namespace edgefsa
