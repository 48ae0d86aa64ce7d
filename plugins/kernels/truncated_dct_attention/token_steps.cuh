// SPDX-License-Identifier: Apache-2.0
// The steps among the tokens that both modes have. Each is one launch over the whole batch.
#pragma once

#include "buffers.h"

namespace edgefsa {

// d and g of `TokenBuffers`.
cudaError_t launchBasisSums(const TruncatedDctAttentionParams& params, const TokenBuffers& buffers,
                            cudaStream_t stream) noexcept;

// Queries, keys and values of the tokens [batch, channels, tokenStride].
cudaError_t launchProject(const TruncatedDctAttentionParams& params, const float* tokens, const TokenBuffers& buffers,
                          cudaStream_t stream) noexcept;

// spread = out_weight values, where that is not folded; affinity = gain keys^T queries.
cudaError_t launchMix(const TruncatedDctAttentionParams& params, float gain, const TokenBuffers& buffers,
                      cudaStream_t stream) noexcept;

}  // namespace edgefsa
