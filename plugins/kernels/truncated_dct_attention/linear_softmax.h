// SPDX-License-Identifier: Apache-2.0
// Step 2, mode kLinSoftmax: per pass the change U with the mean m after its tokens, and the maps e and v.
#pragma once

#include "truncated_dct_attention.h"

namespace edgefsa {

class Chain;  // launch_chain.cuh

struct LinSoftmaxParams {
    const float* coefficients;  // [batch, channels, tokenStride(kh, kw)]
    float* changes;             // [recurrence, batch, channels, tokenStride(kh, kw)]
    float* gains;               // e [recurrence, batch, height, width]
    float* masses;              // v, as gains
    TruncatedDctAttentionParams op;
};
std::size_t linSoftmaxWorkspaceBytes(const LinSoftmaxParams& params) noexcept;
cudaError_t launchLinSoftmax(const LinSoftmaxParams& params, void* workspace, Chain& chain) noexcept;

}  // namespace edgefsa
