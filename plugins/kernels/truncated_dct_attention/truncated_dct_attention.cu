// The whole operator: its steps one after another on one workspace.

#include <algorithm>

#include "buffers.h"
#include "checks.h"
#include "inverse_dct.cuh"
#include "linear_softmax.h"
#include "truncated_dct_attention.h"

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

InverseArguments inverseOf(const TruncatedDctAttentionParams& p, const LinSoftmaxParams& updates) noexcept {
    const bool is_dot_product = p.mode == AttentionMode::kDotProduct;
    InverseArguments a = {};
    a.x = p.x;
    a.y = p.y;
    a.changes = updates.changes;
    a.gains = is_dot_product ? nullptr : updates.gains;
    a.masses = is_dot_product ? nullptr : updates.masses;
    a.basis_h = p.basis_h;
    a.basis_w = p.basis_w;
    a.shift = p.shift;
    a.batch = p.batch;
    a.channels = p.channels;
    a.height = p.height;
    a.width = p.width;
    a.kh = p.kh;
    a.kw = p.kw;
    a.token_stride = tokenStride(p.kh, p.kw);
    a.passes = is_dot_product ? 1 : p.recurrence;
    a.shift_gain = static_cast<float>(p.recurrence);
    a.x_scale = p.x_scale;
    a.y_gain = p.type == DataType::kInt8 ? 1.0f / p.y_scale : 1.0f;
    return a;
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
    if (!isLaunchable(p) || workspace == nullptr) {
        return cudaErrorInvalidValue;
    }
    Arena arena(workspace);
    const Steps steps = stepsOf(p, arena);
    cudaError_t status = launchTruncatedDct(steps.forward, steps.scratch, stream);
    if (status == cudaSuccess) {
        status = p.mode == AttentionMode::kDotProduct
                     ? launchCoefficientAttention(steps.dot_product, steps.scratch, stream)
                     : launchLinSoftmax(steps.lin_softmax, steps.scratch, stream);
    }
    if (status != cudaSuccess) {
        return status;
    }
    return launchInverse(inverseOf(p, steps.lin_softmax), p.type, p.format, stream);
}

}  // namespace edgefsa
