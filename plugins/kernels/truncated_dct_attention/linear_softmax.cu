// SPDX-License-Identifier: Apache-2.0
// Step 2, mode kLinSoftmax: eight launches a pass, and three more before another one.

#include "checks.h"
#include "linear_softmax.h"
#include "pixel_maps.cuh"
#include "token_product.cuh"
#include "token_steps.cuh"

namespace edgefsa {
namespace {

// What a pass's products store, by the element's place.
struct WeightStore {
    const float* of_ones;
    int count;

    __device__ float operator()(int row, int column, float value, std::size_t) const {
        return column < count ? value : column == count && row < count ? of_ones[row] : 0.0f;
    }
};
struct ChangeStore {
    int count;

    __device__ float operator()(int, int column, float value, std::size_t) const {
        return column <= count ? value : 0.0f;
    }
};
struct NextStore {
    const float* tokens;
    const float* of_ones;
    const float* shift;
    int count;

    __device__ float operator()(int row, int column, float value, std::size_t index) const {
        return column < count ? tokens[index] + value + shift[row] * of_ones[column] : 0.0f;
    }
};

// out [batch, rows, right_stride] = store(left right), all of a row's elements. Block (tile of columns, of rows,
// sample).
template <typename Store>
__global__ void __launch_bounds__(kTileThreads)
    productKernel(Product p, std::size_t left_step, std::size_t right_step, float* out, const Store store) {
    letNextBegin();
    waitForEarlier();
    const int first_row = static_cast<int>(blockIdx.y) * kTileRows;
    const int first_column = static_cast<int>(blockIdx.x) * kTileColumns;
    p.left += blockIdx.z * left_step;
    p.right += blockIdx.z * right_step;
    float values[2];
    multiplyTile(p, first_row, first_column, values);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const Place place = placeOf(first_row, first_column, e);
        if (place.row < p.rows && place.column < p.right_stride) {
            const std::size_t row = static_cast<std::size_t>(blockIdx.z) * p.rows + place.row;
            const std::size_t index = row * p.right_stride + place.column;
            out[index] = store(place.row, place.column, values[e], index);
        }
    }
}

// Of matrices whose samples lie left_rows and right_rows rows apart.
template <typename Store>
cudaError_t launchProduct(const Product& p, int left_rows, int right_rows, int batch, float* out, const Store& store,
                          Chain& chain) noexcept {
    const dim3 grid(static_cast<unsigned>(ceilDiv(p.right_stride, kTileColumns)),
                    static_cast<unsigned>(ceilDiv(p.rows, kTileRows)), static_cast<unsigned>(batch));
    const std::size_t left_step = static_cast<std::size_t>(left_rows) * p.left_stride;
    const std::size_t right_step = static_cast<std::size_t>(right_rows) * p.right_stride;
    return chain.launch(productKernel<Store>, grid, dim3(kTileThreads), 0, p, left_step, right_step, out, store);
}

struct Pass {
    const float* tokens;
    float* change;
    float* gains;
    float* masses;
};

cudaError_t launchPass(const TruncatedDctAttentionParams& p, const Pass& pass, const TokenBuffers& t,
                       const MapBuffers& b, Chain& chain) noexcept {
    const int count = p.kh * p.kw, stride = t.stride;
    const std::size_t pixels = static_cast<std::size_t>(p.batch) * p.height * p.width;
    const float* key_map = b.inverse_norms + pixels;
    cudaError_t status = launchProject(p, pass.tokens, t, chain);
    if (status == cudaSuccess) {
        status = launchMix(p, 1.0f, t, chain);
    }
    if (status == cudaSuccess) {
        status = launchInverseNorms(p, t, b, chain);
    }
    if (status == cudaSuccess) {
        status = launchGram(p, key_map, key_map, b, stride, chain);
    }
    if (status == cudaSuccess) {
        status = launchProduct({b.gram, t.affinity, stride, stride, count + 1, count, count}, count + 1, count, p.batch,
                               b.weighted, WeightStore{t.of_ones, count}, chain);
    }
    if (status == cudaSuccess) {
        status = launchProduct({t.spread, b.weighted, stride, stride, p.channels, count + 1, count}, p.channels,
                               count + 1, p.batch, pass.change, ChangeStore{count}, chain);
    }
    return status == cudaSuccess ? launchGains(p, b, stride, pass.gains, pass.masses, chain) : status;
}

// X = X + U G(e) + m dct(v)^T + shift d^T: the mean m lies after U's tokens as dct(v) lies below G(e).
cudaError_t launchNext(const TruncatedDctAttentionParams& p, const Pass& pass, const TokenBuffers& t,
                       const MapBuffers& b, Chain& chain) noexcept {
    const int count = p.kh * p.kw;
    const cudaError_t status = launchGram(p, pass.gains, pass.masses, b, t.stride, chain);
    if (status != cudaSuccess) {
        return status;
    }
    return launchProduct({pass.change, b.gram, t.stride, t.stride, p.channels, count, count + 1}, p.channels, count + 1,
                         p.batch, t.tokens, NextStore{pass.tokens, t.of_ones, p.shift, count}, chain);
}

}  // namespace

std::size_t linSoftmaxWorkspaceBytes(const LinSoftmaxParams& p) noexcept {
    Arena arena(nullptr);
    takeTokenBuffers(p.op, arena);
    takeMapBuffers(p.op, arena);
    return arena.bytes();
}

cudaError_t launchLinSoftmax(const LinSoftmaxParams& params, void* workspace, Chain& chain) noexcept {
    const TruncatedDctAttentionParams& p = params.op;
    Arena arena(workspace);
    const TokenBuffers tokens = takeTokenBuffers(p, arena);
    const MapBuffers maps = takeMapBuffers(p, arena);
    const std::size_t changes = static_cast<std::size_t>(p.batch) * p.channels * tokens.stride;
    const std::size_t pixels = static_cast<std::size_t>(p.batch) * p.height * p.width;
    cudaError_t status = launchBasisSums(p, tokens, chain);
    for (int index = 0; status == cudaSuccess && index < p.recurrence; ++index) {
        const Pass pass = {index == 0 ? params.coefficients : tokens.tokens, params.changes + index * changes,
                           params.gains + index * pixels, params.masses + index * pixels};
        status = launchPass(p, pass, tokens, maps, chain);
        if (status == cudaSuccess && index + 1 < p.recurrence) {
            status = launchNext(p, pass, tokens, maps, chain);
        }
    }
    return status;
}

}  // namespace edgefsa
