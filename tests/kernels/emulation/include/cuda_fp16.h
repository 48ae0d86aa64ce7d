// CUDA's half types, for the host: each operation rounds once, to nearest even, as the device's does.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda_runtime.h"

struct __half_raw {
    unsigned short x;
};

namespace emulation {

inline float floatFromHalf(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t exponent = half >> 10 & 0x1fu;
    const std::uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0) {
        const float value = static_cast<float>(mantissa) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    const std::uint32_t biased = exponent == 31 ? 255u : exponent + 112u;
    return bitCast<float>(sign | biased << 23 | mantissa << 13);
}

inline std::uint16_t halfFromFloat(float value) {
    const std::uint32_t bits = bitCast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) {
        return 0x7fffu;
    }
    if (magnitude >= 65520.0f) {
        return static_cast<std::uint16_t>(sign | 0x7c00u);
    }
    if (magnitude < 0x1p-14f) {  // subnormal: the unit is 2^-24, and which is what the adder rounds to near 0.5
        const std::uint32_t rounded = bitCast<std::uint32_t>(magnitude + 0.5f) - bitCast<std::uint32_t>(0.5f);
        return static_cast<std::uint16_t>(sign | rounded);
    }
    const std::uint32_t positive = bits & 0x7fffffffu;
    const std::uint32_t rounded = positive + 0xfffu + (positive >> 13 & 1u) - (112u << 23);
    return static_cast<std::uint16_t>(sign | rounded >> 13);
}

}  // namespace emulation

struct __half {
    __half() = default;
    __half(float value) : bits(emulation::halfFromFloat(value)) {}
    __half(double value) : __half(static_cast<float>(value)) {}
    __half(int value) : __half(static_cast<float>(value)) {}
    __half(__half_raw raw) : bits(raw.x) {}
    operator float() const { return emulation::floatFromHalf(bits); }
    operator __half_raw() const { return {bits}; }

    std::uint16_t bits;
};
using half = __half;

struct alignas(4) __half2 {
    __half2() = default;
    __half2(__half x, __half y) : x(x), y(y) {}

    __half x, y;
};
using half2 = __half2;

inline float __half2float(__half value) { return value; }
inline __half __float2half(float value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline bool __hisnan(__half value) { return std::isnan(static_cast<float>(value)); }
inline bool __hgt(__half a, __half b) { return static_cast<float>(a) > static_cast<float>(b); }
inline bool __hlt(__half a, __half b) { return static_cast<float>(a) < static_cast<float>(b); }

// Sums and products of halves are exact in float; a * b + c is exact in double but for the far ends of the range.
inline __half __hadd(__half a, __half b) { return static_cast<float>(a) + static_cast<float>(b); }
inline __half __hsub(__half a, __half b) { return static_cast<float>(a) - static_cast<float>(b); }
inline __half __hmul(__half a, __half b) { return static_cast<float>(a) * static_cast<float>(b); }
inline __half __hfma(__half a, __half b, __half c) {
    return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
}
inline __half __hmax(__half a, __half b) { return max(static_cast<float>(a), static_cast<float>(b)); }
inline __half __hmin(__half a, __half b) { return min(static_cast<float>(a), static_cast<float>(b)); }

inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __half2half2(__half value) { return {value, value}; }
inline __half2 __float2half2_rn(float value) { return {value, value}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 value) { return {value.x, value.y}; }
inline float2 __half22float2(__half2 value) { return {value.x, value.y}; }
inline __half __low2half(__half2 value) { return value.x; }
inline __half __high2half(__half2 value) { return value.y; }
inline float __low2float(__half2 value) { return value.x; }
inline float __high2float(__half2 value) { return value.y; }
inline __half2 __hadd2(__half2 a, __half2 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
inline __half2 __hsub2(__half2 a, __half2 b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
inline __half2 __hmax2(__half2 a, __half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
