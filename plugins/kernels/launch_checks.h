// SPDX-License-Identifier: Apache-2.0
// What launchers ask of their parameters before they launch anything.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "types.h"

namespace edgefsa {

// Of a tensor: a grid's second and third extents end there.
constexpr int kMaxExtent = 65535;

inline bool areExtents(std::initializer_list<int> extents) noexcept {
    return std::all_of(extents.begin(), extents.end(), [](int extent) { return extent >= 1 && extent <= kMaxExtent; });
}

// Whether sizes that a kernel multiplies as int stay within it.
inline bool isCountable(std::initializer_list<int> extents) noexcept {
    long long product = 1;
    for (const int extent : extents) {
        product *= extent;
        if (product > INT32_MAX) {
            return false;
        }
    }
    return true;
}

// kHwc8 is served for halves alone.
inline bool isLayout(DataType type, Format format) noexcept {
    const bool is_type = type == DataType::kFloat || type == DataType::kHalf || type == DataType::kInt8;
    return is_type && (format == Format::kLinear || (format == Format::kHwc8 && type == DataType::kHalf));
}

inline bool isScale(float scale, DataType type) noexcept { return type != DataType::kInt8 || scale > 0; }

inline bool areGiven(std::initializer_list<const void*> pointers) noexcept {
    return std::find(pointers.begin(), pointers.end(), nullptr) == pointers.end();
}

// Channels-last maps are moved in 16 bytes; the launchers look at linear ones and choose.
inline bool isMap(const void* map, Format format) noexcept {
    return map != nullptr && (format == Format::kLinear || reinterpret_cast<std::uintptr_t>(map) % 16 == 0);
}

inline bool isWorkspace(const void* workspace) noexcept {
    return workspace != nullptr && reinterpret_cast<std::uintptr_t>(workspace) % 16 == 0;
}

}  // namespace edgefsa
