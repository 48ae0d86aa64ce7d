// SPDX-License-Identifier: Apache-2.0
// What every kernel's parameters say about a tensor: the type of its elements and how they lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgefsa {

enum class DataType : std::int32_t { kFloat, kHalf, kInt8 };

// kLinear is [N, C, H, W]. kHwc8 is [N, H, W, C'], C' being C padded to a multiple of 8: TensorRT's
// TensorFormat::kHWC8. What lies in the padding of an input has no effect; the padding of an output is zero.
enum class Format : std::int32_t { kLinear, kHwc8 };

inline std::size_t bytesPerElement(DataType type) noexcept {
    return type == DataType::kFloat ? 4 : type == DataType::kHalf ? 2 : 1;
}

// Channels as they lie in memory.
inline int storedChannels(int channels, Format format) noexcept {
    return format == Format::kHwc8 ? (channels + 7) / 8 * 8 : channels;
}

}  // namespace edgefsa
