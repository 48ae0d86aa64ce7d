// SPDX-License-Identifier: Apache-2.0
// The whole operator: its steps one after another on one workspace.

#include <algorithm>

#include "../launch_checks.h"
#include "buffers.h"
#include "checks.h"
#include "inverse_dct.cuh"
#include "linear_softmax.h"
#include "token_steps.cuh"
#include "truncated_dct.cuh"

namespace edgefsa {
namespace {

struct Steps {
    TruncatedDctParams forward;
    CoefficientAttentionParams dot_product;
    LinSoftmaxParams lin_softmax;
    void* scratch;  // of one step at a time
};

// Lays the workspace out; `arena` then knows its size.
Steps stepsOf(const TruncatedDctAttentionParams& p, Arena& arena) noexcept {
    const bool is_dot_product = p.mode == AttentionMode::kDotProduct;
    const std::size_t passes = is_dot_product ? 1 : static_cast<std::size_t>(p.recurrence);
    const std::size_t tokens = static_cast<std::size_t>(p.batch) * p.channels * tokenStride(p.kh, p.kw);
    const std::size_t pixels = is_dot_product ? 0 : static_cast<std::size_t>(p.batch) * p.height * p.width;
    float* coefficients = arena.take(tokens);
    float* changes = arena.take(passes * tokens);
    float* gains = arena.take(passes * pixels);
    float* masses = arena.take(passes * pixels);
    Steps steps = {};
    steps.forward = {p.x,      coefficients, p.type, p.format, p.x_scale, p.batch,  p.channels,
                     p.height, p.width,      p.kh,   p.kw,     p.basis_h, p.basis_w};
    steps.dot_product = {coefficients, changes, p};
    steps.lin_softmax = {coefficients, changes, gains, masses, p};
    const std::size_t attention = is_dot_product ? coefficientAttentionWorkspaceBytes(steps.dot_product)
                                                 : linSoftmaxWorkspaceBytes(steps.lin_softmax);
    steps.scratch = arena.take(std::max(truncatedDctWorkspaceBytes(steps.forward), attention) / sizeof(float));
    return steps;
}

InverseDctParams inverseOf(const TruncatedDctAttentionParams& p, const float* changes) noexcept {
    return {p.x,
            p.y,
            changes,
            p.type,
            p.format,
            p.x_scale,
            p.y_scale,
            p.batch,
            p.channels,
            p.height,
            p.width,
            p.kh,
            p.kw,
            p.basis_h,
            p.basis_w,
            p.shift,
            static_cast<float>(p.recurrence)};
}

cudaError_t launchDotProduct(const TruncatedDctAttentionParams& p, const Steps& steps, Chain& chain) noexcept {
    const cudaError_t status = launchCoefficientAttention(steps.dot_product, steps.scratch, chain);
    const InverseArguments inverse = inverseArguments(inverseOf(p, steps.dot_product.change));
    return status == cudaSuccess ? launchInverse(inverse, p.type, p.format, chain) : status;
}

cudaError_t launchWithSoftmax(const TruncatedDctAttentionParams& p, const Steps& steps, Chain& chain) noexcept {
    const cudaError_t status = launchLinSoftmax(steps.lin_softmax, steps.scratch, chain);
    InverseArguments inverse = inverseArguments(inverseOf(p, steps.lin_softmax.changes));
    inverse.gains = steps.lin_softmax.gains;
    inverse.masses = steps.lin_softmax.masses;
    inverse.passes = p.recurrence;
    return status == cudaSuccess ? launchInverse(inverse, p.type, p.format, chain) : status;
}

}  // namespace

std::size_t truncatedDctAttentionWorkspaceBytes(const TruncatedDctAttentionParams& p) noexcept {
    Arena arena(nullptr);
    if (isServed(p)) {
        stepsOf(p, arena);
    }
    return arena.bytes();
}

cudaError_t launchTruncatedDctAttention(const TruncatedDctAttentionParams& p, void* workspace,
                                        cudaStream_t stream) noexcept {
    if (!isLaunchable(p) || !isWorkspace(workspace)) {
        return cudaErrorInvalidValue;
    }
    Arena arena(workspace);
    const Steps steps = stepsOf(p, arena);
    Chain chain(stream);
    const cudaError_t status = launchTruncatedDct(steps.forward, steps.scratch, chain);
    if (status != cudaSuccess) {
        return status;
    }
    return p.mode == AttentionMode::kDotProduct ? launchDotProduct(p, steps, chain)
                                                : launchWithSoftmax(p, steps, chain);
}

}  // namespace edgefsa
