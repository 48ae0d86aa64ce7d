// SPDX-License-Identifier: Apache-2.0
// Launchers of the operator TruncatedDctAttention and of its steps. The formula, the shapes and the traffic are in
// README.md beside this file.
//
// Pointers are device pointers. x and y have the given type and format; everything else is float32, row-major and
// contiguous. No launcher allocates, synchronises or copies, so a CUDA graph can capture each; parameters that a
// launcher cannot serve give cudaErrorInvalidValue before anything is launched. The workspace must be 16-byte aligned,
// needs no initial value, and serves smaller batches, heights and widths too.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "../types.h"

namespace edgefsa {

enum class AttentionMode : std::int32_t { kDotProduct, kLinSoftmax };

constexpr int kMaxBasisRows = 32;         // largest kh and kw
constexpr int kMaxLinSoftmaxPasses = 16;  // largest recurrence in mode kLinSoftmax

struct TruncatedDctAttentionParams {
    const void* x;  // [batch, channels, height, width]
    void* y;        // shape, type and format of x; may not overlap x
    DataType type;
    Format format;  // kHwc8 only with kHalf
    float x_scale;  // kInt8: real value = x_scale * stored value; otherwise not read
    float y_scale;  // kInt8: stored value = real value / y_scale, rounded and saturated; otherwise not read
    int batch;
    int channels;
    int height;
    int width;
    int kh;
    int kw;
    int query_channels;
    int value_channels;
    const float* basis_h;       // [kh, height]
    const float* basis_w;       // [kw, width]
    const float* query_weight;  // [query_channels, channels]
    const float* query_bias;    // [query_channels]
    const float* key_weight;    // [query_channels, channels]
    const float* key_bias;      // [query_channels]
    const float* value_weight;  // [value_channels, channels]
    const float* value_bias;    // [value_channels]
    const float* out_weight;    // [channels, value_channels]; nullptr where value_weight and value_bias have been
                                // multiplied by it beforehand, which makes value_channels = channels
    const float* shift;         // [channels]
    AttentionMode mode;
    int recurrence;
    float scale;
};

// The whole operator: the three steps below, in order.
std::size_t truncatedDctAttentionWorkspaceBytes(const TruncatedDctAttentionParams& params) noexcept;
cudaError_t launchTruncatedDctAttention(const TruncatedDctAttentionParams& params, void* workspace,
                                        cudaStream_t stream) noexcept;

// Elements from one channel's tokens to the next in the coefficients below. Token (i, j) is element i kw + j; what
// follows the last token is for the library's own use.
inline int tokenStride(int kh, int kw) noexcept { return (kh * kw + 4) / 4 * 4; }

// Step 1: coefficients[n, c] = basis_h x[n, c] basis_w^T.
struct TruncatedDctParams {
    const void* x;        // [batch, channels, height, width]
    float* coefficients;  // [batch, channels, tokenStride(kh, kw)]
    DataType type;
    Format format;
    float x_scale;
    int batch;
    int channels;
    int height;
    int width;
    int kh;
    int kw;
    const float* basis_h;
    const float* basis_w;
};
std::size_t truncatedDctWorkspaceBytes(const TruncatedDctParams& params) noexcept;
cudaError_t launchTruncatedDct(const TruncatedDctParams& params, void* workspace, cudaStream_t stream) noexcept;

// Step 2, mode kDotProduct: change = the sum of U over the passes, from the coefficients of x. x and y are not read.
struct CoefficientAttentionParams {
    const float* coefficients;  // [batch, channels, tokenStride(kh, kw)]
    float* change;              // as coefficients; may not overlap them
    TruncatedDctAttentionParams op;
};
std::size_t coefficientAttentionWorkspaceBytes(const CoefficientAttentionParams& params) noexcept;
cudaError_t launchCoefficientAttention(const CoefficientAttentionParams& params, void* workspace,
                                       cudaStream_t stream) noexcept;

// Step 3, mode kDotProduct: y = x + basis_h^T change basis_w + shift_gain * shift. It needs no workspace.
struct InverseDctParams {
    const void* x;        // [batch, channels, height, width]
    void* y;              // as x
    const float* change;  // [batch, channels, tokenStride(kh, kw)]
    DataType type;
    Format format;
    float x_scale;
    float y_scale;
    int batch;
    int channels;
    int height;
    int width;
    int kh;
    int kw;
    const float* basis_h;
    const float* basis_w;
    const float* shift;  // [channels]
    float shift_gain;
};
cudaError_t launchInverseDct(const InverseDctParams& params, void* workspace, cudaStream_t stream) noexcept;

}  // namespace edgefsa
