// SPDX-License-Identifier: Apache-2.0
// Chooses SpectralMask's kernel and passes: one where the plane fits into shared memory, else two.
#include "../device.h"
#include "../launch_checks.h"
#include "spectral_mask.cuh"

namespace edgefsa {
namespace spectral_mask {
namespace {

constexpr int kRowsPerBand = 64;

int planeChannels(Format format) noexcept {
    return format == Format::kHwc8 ? kPlaneChannels<Format::kHwc8> : kPlaneChannels<Format::kLinear>;
}

int bandsOf(const SpectralMaskParams& params) noexcept { return ceilDiv(params.height, kRowsPerBand); }

// By all that does not depend on the device.
bool hasServedSettings(const SpectralMaskParams& p) noexcept {
    const bool has_extents = areExtents({p.batch, p.channels, p.height, p.width, p.modes_h, p.modes_w});
    const bool has_modes = p.modes_h <= kMaxMaskModesH && p.modes_w <= kMaxMaskModesW;
    const bool has_scales = isScale(p.x_scale, p.type) && isScale(p.y_scale, p.type);
    return has_extents && has_modes && has_scales && isLayout(p.type, p.format) && isCountable({p.batch, p.channels}) &&
           isCountable({p.width, storedChannels(p.channels, p.format)});
}

// Shared memory of two passes, which take less than one pass does.
int bandBytes(Work work, int row_stride, int plane_channels) noexcept {
    work.rows_per_band = min(kRowsPerBand, work.op.height);
    work.staged_bytes = 0;
    return sharedLayout(work, row_stride, plane_channels).end;
}

// The row stride of the kernel that launchModes and launchLinear choose for aligned pointers.
int rowStrideOf(const SpectralMaskParams& params) noexcept {
    const bool has_packs =
        params.format == Format::kHwc8 || params.width % (params.type == DataType::kFloat ? 4 : 8) == 0;
    if (!has_packs || params.modes_h > 5) {
        return kRowStride<kMaxMaskModesH>;
    }
    return params.modes_h <= 3 ? kRowStride<3> : kRowStride<5>;
}

// Runs both passes over as many planes as stay in the L2 cache between them.
template <typename T, int VEC, int MODES_H, Format FORMAT>
cudaError_t launchTwoPasses(Work work, int planes, const Device& device, cudaStream_t stream) noexcept {
    constexpr auto kTokensKernel = spectralMaskKernel<T, VEC, MODES_H, FORMAT, Pass::kTokens>;
    constexpr auto kApplyKernel = spectralMaskKernel<T, VEC, MODES_H, FORMAT, Pass::kApply>;
    work.rows_per_band = min(kRowsPerBand, work.op.height);
    work.staged_bytes = 0;
    const int shared_bytes = bandBytes(work, kRowStride<MODES_H>, kPlaneChannels<FORMAT>);
    if (shared_bytes > device.shared_bytes || !isWorkspace(work.partial)) {
        return cudaErrorInvalidValue;
    }
    cudaError_t status = allowSharedBytes<kTokensKernel>(shared_bytes, device);
    if (status == cudaSuccess) {
        status = allowSharedBytes<kApplyKernel>(shared_bytes, device);
    }
    const int bands = bandsOf(work.op);
    const std::size_t plane_bytes =
        static_cast<std::size_t>(work.op.height) * work.op.width * kPlaneChannels<FORMAT> * sizeof(T);
    const int cached = static_cast<int>(min(device.cache_bytes / 2 / plane_bytes, std::size_t{1} << 20));
    const int at_once = max(cached, ceilDiv(2 * device.multiprocessors, bands));
    for (int first = 0; first < planes && status == cudaSuccess; first += at_once) {
        work.first_plane = first;
        const dim3 grid(min(at_once, planes - first), bands);
        status = launchKernel(kTokensKernel, grid, kThreads, shared_bytes, stream, work);
        if (status == cudaSuccess) {
            status = launchKernel(kApplyKernel, grid, kThreads, shared_bytes, stream, work);
        }
    }
    return status;
}

template <typename T, int VEC, int MODES_H, Format FORMAT>
cudaError_t launchPasses(const SpectralMaskParams& params, void* workspace, const Device& device,
                         cudaStream_t stream) noexcept {
    constexpr auto kWholeKernel = spectralMaskKernel<T, VEC, MODES_H, FORMAT, Pass::kWhole>;
    const bool has_scales = params.type == DataType::kInt8;
    Work work = {};
    work.op = params;
    work.partial = static_cast<float*>(workspace);
    work.planes_per_sample = ceilDiv(params.channels, kPlaneChannels<FORMAT>);
    work.x_scale = has_scales ? params.x_scale : 1.0f;
    work.inverse_y_scale = has_scales ? 1.0f / params.y_scale : 1.0f;
    const int planes = params.batch * work.planes_per_sample;
    const std::size_t plane_bytes =
        static_cast<std::size_t>(params.height) * params.width * kPlaneChannels<FORMAT> * sizeof(T);
    if (plane_bytes > static_cast<std::size_t>(device.shared_bytes)) {
        return launchTwoPasses<T, VEC, MODES_H, FORMAT>(work, planes, device, stream);
    }
    work.rows_per_band = params.height;
    work.staged_bytes = static_cast<int>(plane_bytes);
    const int shared_bytes = sharedLayout(work, kRowStride<MODES_H>, kPlaneChannels<FORMAT>).end;
    if (shared_bytes > device.shared_bytes) {
        return launchTwoPasses<T, VEC, MODES_H, FORMAT>(work, planes, device, stream);
    }
    const cudaError_t status = allowSharedBytes<kWholeKernel>(shared_bytes, device);
    if (status != cudaSuccess) {
        return status;
    }
    return launchKernel(kWholeKernel, planes, kThreads, shared_bytes, stream, work);
}

template <typename T, int VEC, Format FORMAT>
cudaError_t launchModes(const SpectralMaskParams& params, void* workspace, const Device& device,
                        cudaStream_t stream) noexcept {
    if (params.modes_h <= 3) {  // r = 1
        return launchPasses<T, VEC, 3, FORMAT>(params, workspace, device, stream);
    }
    if (params.modes_h <= 5) {  // r = 2
        return launchPasses<T, VEC, 5, FORMAT>(params, workspace, device, stream);
    }
    return launchPasses<T, VEC, kMaxMaskModesH, FORMAT>(params, workspace, device, stream);
}

template <typename T, int VEC>
cudaError_t launchLinear(const SpectralMaskParams& params, void* workspace, const Device& device,
                         cudaStream_t stream) noexcept {
    const bool is_aligned = rowsAreAligned(params.x, sizeof(T), params.width, VEC) &&
                            rowsAreAligned(params.y, sizeof(T), params.width, VEC);
    if (is_aligned) {
        return launchModes<T, VEC, Format::kLinear>(params, workspace, device, stream);
    }
    return launchPasses<T, 1, kMaxMaskModesH, Format::kLinear>(params, workspace, device, stream);
}

}  // namespace
}  // namespace spectral_mask

bool isServed(const SpectralMaskParams& params) noexcept {
    Device device = {};
    if (!spectral_mask::hasServedSettings(params) || deviceInUse(&device) != cudaSuccess) {
        return false;
    }
    spectral_mask::Work work = {};
    work.op = params;
    return spectral_mask::bandBytes(work, spectral_mask::rowStrideOf(params),
                                    spectral_mask::planeChannels(params.format)) <= device.shared_bytes;
}

std::size_t spectralMaskWorkspaceBytes(const SpectralMaskParams& params) noexcept {
    if (!spectral_mask::hasServedSettings(params)) {
        return 0;
    }
    const int plane_channels = spectral_mask::planeChannels(params.format);
    const std::size_t channels = roundUp(params.channels, plane_channels);
    return channels * params.batch * spectral_mask::bandsOf(params) * params.modes_h * params.modes_w * sizeof(float);
}

cudaError_t launchSpectralMask(const SpectralMaskParams& params, void* workspace, cudaStream_t stream) noexcept {
    const bool has_maps = isMap(params.x, params.format) && isMap(params.y, params.format);
    if (!spectral_mask::hasServedSettings(params) || !has_maps ||
        !areGiven({params.gain, params.basis_h, params.basis_w, params.coupling_gain, params.coupling_base})) {
        return cudaErrorInvalidValue;
    }
    Device device = {};
    const cudaError_t status = deviceInUse(&device);
    if (status != cudaSuccess) {
        return status;
    }
    if (params.format == Format::kHwc8) {
        return spectral_mask::launchModes<__half, 8, Format::kHwc8>(params, workspace, device, stream);
    }
    switch (params.type) {
        case DataType::kFloat:
            return spectral_mask::launchLinear<float, 4>(params, workspace, device, stream);
        case DataType::kHalf:
            return spectral_mask::launchLinear<__half, 8>(params, workspace, device, stream);
        case DataType::kInt8:
            return spectral_mask::launchLinear<std::int8_t, 8>(params, workspace, device, stream);
    }
    return cudaErrorInvalidValue;
}

}  // namespace edgefsa
