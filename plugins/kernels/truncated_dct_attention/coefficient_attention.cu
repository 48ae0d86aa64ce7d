// SPDX-License-Identifier: Apache-2.0
// Step 2, mode kDotProduct: three launches a pass.

#include "../launch_checks.h"
#include "checks.h"
#include "token_product.cuh"
#include "token_steps.cuh"

namespace edgefsa {
namespace {

struct ApplyArguments {
    const float* spread;
    const float* affinity;
    const float* tokens;  // X of this pass
    float* next_tokens;   // X of the next, nullptr at the last pass; may be `tokens`
    float* change;        // the sum of U so far
    const float* gram_diagonal;
    const float* of_ones;
    const float* shift;
    int channels;
    int count;  // of tokens
    int stride;
    bool is_first;
};

// U = spread affinity; change += U; X = X + U g + shift d^T. Block (tile of tokens, tile of channels, sample).
__global__ void __launch_bounds__(kTileThreads) applyKernel(const ApplyArguments a) {
    letNextBegin();
    waitForEarlier();
    const int first_row = static_cast<int>(blockIdx.y) * kTileRows;
    const int first_column = static_cast<int>(blockIdx.x) * kTileColumns;
    const std::size_t sample = static_cast<std::size_t>(blockIdx.z) * a.stride;
    float values[2];
    multiplyTile({a.spread + sample * a.channels, a.affinity + sample * a.count, a.stride, a.stride, a.channels,
                  a.count, a.count},
                 first_row, first_column, values);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const Place place = placeOf(first_row, first_column, e);
        if (place.row >= a.channels || place.column >= a.stride) {
            continue;
        }
        const std::size_t index = sample * a.channels + static_cast<std::size_t>(place.row) * a.stride + place.column;
        const bool is_token = place.column < a.count;
        const float before = a.is_first ? 0.0f : a.change[index];
        a.change[index] = is_token ? before + values[e] : 0.0f;
        if (a.next_tokens != nullptr && is_token) {
            a.next_tokens[index] = a.tokens[index] + values[e] * a.gram_diagonal[place.column] +
                                   a.shift[place.row] * a.of_ones[place.column];
        }
    }
}

cudaError_t launchPass(const CoefficientAttentionParams& p, int pass, const TokenBuffers& b, Chain& chain) noexcept {
    const TruncatedDctAttentionParams& op = p.op;
    const float* tokens = pass == 0 ? p.coefficients : b.tokens;
    cudaError_t status = launchProject(op, tokens, b, chain);
    if (status == cudaSuccess) {
        status = launchMix(op, op.scale, b, chain);
    }
    if (status != cudaSuccess) {
        return status;
    }
    const int count = op.kh * op.kw, stride = tokenStride(op.kh, op.kw);
    float* next = pass + 1 < op.recurrence ? b.tokens : nullptr;
    const ApplyArguments a = {b.spread,  b.affinity, tokens,      next,  p.change, b.gram_diagonal,
                              b.of_ones, op.shift,   op.channels, count, stride,   pass == 0};
    const dim3 grid(static_cast<unsigned>(ceilDiv(stride, kTileColumns)),
                    static_cast<unsigned>(ceilDiv(op.channels, kTileRows)), static_cast<unsigned>(op.batch));
    return chain.launch(applyKernel, grid, dim3(kTileThreads), 0, a);
}

}  // namespace

std::size_t coefficientAttentionWorkspaceBytes(const CoefficientAttentionParams& p) noexcept {
    Arena arena(nullptr);
    if (isServed(p.op)) {
        takeTokenBuffers(p.op, arena);
    }
    return arena.bytes();
}

cudaError_t launchCoefficientAttention(const CoefficientAttentionParams& p, void* workspace, Chain& chain) noexcept {
    if (!isLaunchable(p) || !isWorkspace(workspace)) {
        return cudaErrorInvalidValue;
    }
    Arena arena(workspace);
    const TokenBuffers buffers = takeTokenBuffers(p.op, arena);
    cudaError_t status = p.op.recurrence > 1 ? launchBasisSums(p.op, buffers, chain) : cudaSuccess;
    for (int pass = 0; status == cudaSuccess && pass < p.op.recurrence; ++pass) {
        status = launchPass(p, pass, buffers, chain);
    }
    return status;
}

cudaError_t launchCoefficientAttention(const CoefficientAttentionParams& p, void* workspace,
                                       cudaStream_t stream) noexcept {
    Chain chain(stream);
    return launchCoefficientAttention(p, workspace, chain);
}

}  // namespace edgefsa
