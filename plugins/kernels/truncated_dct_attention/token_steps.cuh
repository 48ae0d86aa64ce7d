// SPDX-License-Identifier: Apache-2.0
// Step 2 as part of a chain, and the steps among the tokens that both modes have: each one launch over the whole batch.
#pragma once

#include "../launch_chain.cuh"
#include "buffers.h"

namespace edgefsa {

// All of step 2, mode kDotProduct.
cudaError_t launchCoefficientAttention(const CoefficientAttentionParams& params, void* workspace,
                                       Chain& chain) noexcept;

// d and g of `TokenBuffers`.
cudaError_t launchBasisSums(const TruncatedDctAttentionParams& params, const TokenBuffers& buffers,
                            Chain& chain) noexcept;

// Queries, keys and values of the tokens [batch, channels, tokenStride].
cudaError_t launchProject(const TruncatedDctAttentionParams& params, const float* tokens, const TokenBuffers& buffers,
                          Chain& chain) noexcept;

// spread = out_weight values, where that is not folded; affinity = gain keys^T queries.
cudaError_t launchMix(const TruncatedDctAttentionParams& params, float gain, const TokenBuffers& buffers,
                      Chain& chain) noexcept;

}  // namespace edgefsa
