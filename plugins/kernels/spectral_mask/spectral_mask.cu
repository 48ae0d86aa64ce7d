// SPDX-License-Identifier: Apache-2.0
// Chooses SpectralMask's kernel and passes: one where two planes fit into a multiprocessor's shared memory, else two.
#include "../device.h"
#include "../launch_checks.h"
#include "spectral_mask.cuh"

namespace edgefsa {
namespace spectral_mask {
namespace {

constexpr int kMostBandRows = 64, kLeastBandRows = 16;

int planeChannels(Format format) noexcept {
    return format == Format::kHwc8 ? kPlaneChannels<Format::kHwc8> : kPlaneChannels<Format::kLinear>;
}

std::size_t rowBytes(const SpectralMaskParams& p) noexcept {
    return static_cast<std::size_t>(p.width) * planeChannels(p.format) * bytesPerElement(p.type);
}

int planesOf(const SpectralMaskParams& p) noexcept { return p.batch * ceilDiv(p.channels, planeChannels(p.format)); }

int mostBandsOf(const SpectralMaskParams& p) noexcept { return ceilDiv(p.height, kLeastBandRows); }

// By all that does not depend on the device.
bool hasServedSettings(const SpectralMaskParams& p) noexcept {
    const bool has_extents = areExtents({p.batch, p.channels, p.height, p.width, p.modes_h, p.modes_w});
    const bool has_modes = p.modes_h <= kMaxMaskModesH && p.modes_w <= kMaxMaskModesW;
    const bool has_scales = isScale(p.x_scale, p.type) && isScale(p.y_scale, p.type);
    const bool has_passes = p.passes == Passes::kChosen || p.passes == Passes::kOne || p.passes == Passes::kTwo;
    return has_extents && has_modes && has_scales && has_passes && isLayout(p.type, p.format) &&
           isCountable({2, p.batch, p.channels, mostBandsOf(p)}) &&
           isCountable({p.width, storedChannels(p.channels, p.format)});
}

// Shared memory of a block beside its plane, of `rows` rows.
int bytesBesidePlane(const SpectralMaskParams& p, int rows, int row_stride) noexcept {
    Work work = {};
    work.op = p;
    work.rows_per_band = min(rows, p.height);
    return sharedLayout(work, row_stride, planeChannels(p.format)).end;
}

std::size_t onePassBytes(const SpectralMaskParams& p, int row_stride) noexcept {
    return roundUp(p.height * rowBytes(p), std::size_t{16}) + bytesBesidePlane(p, p.height, row_stride);
}

int twoPassBytes(const SpectralMaskParams& p, int row_stride) noexcept {
    return bytesBesidePlane(p, kMostBandRows, row_stride);
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

// Of a band: as many as leave each multiprocessor a band, with those that are at work at once within half the L2 cache,
// where the second pass has to find what the first has read.
int bandRowsOf(const SpectralMaskParams& p, int places, const Device& device) noexcept {
    int rows = kMostBandRows;
    while (rows > kLeastBandRows &&
           (rows * rowBytes(p) * places > static_cast<std::size_t>(device.cache_bytes) / 2 ||
            static_cast<long long>(planesOf(p)) * ceilDiv(p.height, rows) < device.multiprocessors)) {
        rows /= 2;
    }
    return rows;
}

std::size_t counterBytes(const SpectralMaskParams& p) noexcept {
    return roundUp((1 + static_cast<std::size_t>(planesOf(p))) * sizeof(unsigned), std::size_t{16});
}

template <typename T, int VEC, int MODES_H, Format FORMAT>
struct Launcher {
    static constexpr auto kOnePass = spectralMaskKernel<T, VEC, MODES_H, FORMAT, Passes::kOne>;
    static constexpr auto kTwoPasses = spectralMaskKernel<T, VEC, MODES_H, FORMAT, Passes::kTwo>;

    const SpectralMaskParams& op;
    void* workspace;
    const Device& device;
    cudaStream_t stream;

    cudaError_t launch() const noexcept {
        int in_one = 0, in_two = 0;  // blocks of each form on a multiprocessor at once, 0 where it does not fit
        cudaError_t status = blocksAtOnce<kOnePass>(kThreads, onePassBytes(op, kRowStride<MODES_H>), device, &in_one);
        if (status == cudaSuccess) {
            status = blocksAtOnce<kTwoPasses>(kThreads, twoPassBytes(op, kRowStride<MODES_H>), device, &in_two);
        }
        if (status != cudaSuccess) {
            return status;
        }
        // A block alone leaves the memory idle while it computes.
        const bool is_one = op.passes == Passes::kOne || (op.passes == Passes::kChosen && in_one >= min(2, in_two));
        if (is_one) {
            return in_one > 0 ? launchOnePass() : cudaErrorInvalidValue;
        }
        return in_two > 0 && isWorkspace(workspace) ? launchTwoPasses(in_two) : cudaErrorInvalidValue;
    }

  private:
    Work work() const noexcept {
        const bool has_scales = op.type == DataType::kInt8;
        Work work = {};
        work.op = op;
        work.planes_per_sample = ceilDiv(op.channels, kPlaneChannels<FORMAT>);
        work.x_scale = has_scales ? op.x_scale : 1.0f;
        work.inverse_y_scale = has_scales ? 1.0f / op.y_scale : 1.0f;
        return work;
    }

    cudaError_t launchOnePass() const noexcept {
        Work whole = work();
        whole.rows_per_band = op.height;
        whole.staged_bytes = static_cast<int>(op.height * rowBytes(op));
        const std::size_t shared_bytes = onePassBytes(op, kRowStride<MODES_H>);
        return launchKernel(kOnePass, planesOf(op), kThreads, shared_bytes, stream, whole);
    }

    // `blocks` of this kernel run on a multiprocessor at once.
    cudaError_t launchTwoPasses(int blocks) const noexcept {
        const int places = blocks * device.multiprocessors;
        Work banded = work();
        banded.rows_per_band = min(bandRowsOf(op, places, device), op.height);
        banded.planes = planesOf(op);
        banded.bands = ceilDiv(op.height, banded.rows_per_band);
        // As many blocks start between the passes of a plane as there are places, so that the first of them has ended.
        banded.lag = min(banded.planes, ceilDiv(places + banded.bands, 2 * banded.bands));
        banded.counters = static_cast<unsigned*>(workspace);
        banded.partial = reinterpret_cast<float*>(static_cast<unsigned char*>(workspace) + counterBytes(op));
        const cudaError_t status = cudaMemsetAsync(workspace, 0, counterBytes(op), stream);
        if (status != cudaSuccess) {
            return status;
        }
        const int shared_bytes = bytesBesidePlane(op, banded.rows_per_band, kRowStride<MODES_H>);
        return launchKernel(kTwoPasses, 2 * banded.planes * banded.bands, kThreads, shared_bytes, stream, banded);
    }
};

template <typename T, int VEC, Format FORMAT>
cudaError_t launchModes(const SpectralMaskParams& params, void* workspace, const Device& device,
                        cudaStream_t stream) noexcept {
    if (params.modes_h <= 3) {  // r = 1
        return Launcher<T, VEC, 3, FORMAT>{params, workspace, device, stream}.launch();
    }
    if (params.modes_h <= 5) {  // r = 2
        return Launcher<T, VEC, 5, FORMAT>{params, workspace, device, stream}.launch();
    }
    return Launcher<T, VEC, kMaxMaskModesH, FORMAT>{params, workspace, device, stream}.launch();
}

template <typename T, int VEC>
cudaError_t launchLinear(const SpectralMaskParams& params, void* workspace, const Device& device,
                         cudaStream_t stream) noexcept {
    const bool is_aligned = rowsAreAligned(params.x, sizeof(T), params.width, VEC) &&
                            rowsAreAligned(params.y, sizeof(T), params.width, VEC);
    if (is_aligned) {
        return launchModes<T, VEC, Format::kLinear>(params, workspace, device, stream);
    }
    return Launcher<T, 1, kMaxMaskModesH, Format::kLinear>{params, workspace, device, stream}.launch();
}

}  // namespace
}  // namespace spectral_mask

bool isServed(const SpectralMaskParams& params) noexcept {
    Device device = {};
    if (!spectral_mask::hasServedSettings(params) || deviceInUse(&device) != cudaSuccess) {
        return false;
    }
    const int row_stride = spectral_mask::rowStrideOf(params);
    const std::size_t bytes = params.passes == Passes::kOne
                                  ? spectral_mask::onePassBytes(params, row_stride)
                                  : static_cast<std::size_t>(spectral_mask::twoPassBytes(params, row_stride));
    return bytes <= static_cast<std::size_t>(device.shared_bytes);
}

std::size_t spectralMaskWorkspaceBytes(const SpectralMaskParams& params) noexcept {
    if (!spectral_mask::hasServedSettings(params)) {
        return 0;
    }
    const std::size_t bands = static_cast<std::size_t>(spectral_mask::planesOf(params)) *
                              spectral_mask::planeChannels(params.format) * spectral_mask::mostBandsOf(params);
    return spectral_mask::counterBytes(params) + bands * params.modes_h * params.modes_w * sizeof(float);
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
