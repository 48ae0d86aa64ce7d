// SPDX-License-Identifier: Apache-2.0
// Which parameters the launchers can serve.
#pragma once

#include "truncated_dct_attention.h"

namespace edgefsa {

// By sizes, types and attributes: all that a workspace's size depends on.
bool isServed(const TruncatedDctParams& params) noexcept;
bool isServed(const InverseDctParams& params) noexcept;
bool isServed(const TruncatedDctAttentionParams& params) noexcept;

// By these, the pointers and the scales of bytes.
bool isLaunchable(const TruncatedDctParams& params) noexcept;
bool isLaunchable(const InverseDctParams& params) noexcept;
bool isLaunchable(const CoefficientAttentionParams& params) noexcept;
bool isLaunchable(const TruncatedDctAttentionParams& params) noexcept;

}  // namespace edgefsa
