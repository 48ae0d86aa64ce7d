// SPDX-License-Identifier: Apache-2.0
// SpectralMask as one kernel on plain pointers, for an engine that carries its PTX. NVRTC compiles it for one shape and
// type, which edgefsa/engines/tensorrt/plugins/aot_kernels.py defines as AOT_TYPE, AOT_CHANNELS, AOT_HEIGHT, AOT_WIDTH,
// AOT_MH and AOT_MW (modes), with the choices that the launcher makes elsewhere: AOT_VEC, AOT_MODES_H and AOT_STAGED.
#include "kernels/spectral_mask/spectral_mask.cuh"

namespace edgefsa {
namespace spectral_mask {

constexpr Format kFormat = Format::kLinear;

// Everything but the addresses.
__host__ __device__ constexpr Work workOfShape(int batch) {
    Work work = {};
    work.op.batch = batch;
    work.op.channels = AOT_CHANNELS;
    work.op.height = AOT_HEIGHT;
    work.op.width = AOT_WIDTH;
    work.op.modes_h = AOT_MH;
    work.op.modes_w = AOT_MW;
    work.planes_per_sample = AOT_CHANNELS;
    work.rows_per_band = AOT_HEIGHT;
    work.staged_bytes = AOT_STAGED ? AOT_HEIGHT * AOT_WIDTH * static_cast<int>(sizeof(AOT_TYPE)) : 0;
    work.x_scale = 1.0f;
    work.inverse_y_scale = 1.0f;
    return work;
}

}  // namespace spectral_mask
}  // namespace edgefsa

// Read from the PTX: how to launch it for one sample, and the axis of the grid that counts samples.
extern "C" __device__ const int gridX = AOT_CHANNELS;
extern "C" __device__ const int gridY = 1;
extern "C" __device__ const int gridZ = 1;
extern "C" __device__ const int batchAxis = 0;
extern "C" __device__ const int blockX = edgefsa::spectral_mask::kThreads;
extern "C" __device__ const int blockY = 1;
extern "C" __device__ const int sharedBytes =
    edgefsa::spectral_mask::sharedLayout(edgefsa::spectral_mask::workOfShape(1),
                                         edgefsa::spectral_mask::kRowStride<AOT_MODES_H>, 1)
        .end;

// One block for each plane of x. Where the plane is not AOT_STAGED, it is read twice.
extern "C" __global__ void __launch_bounds__(
    edgefsa::spectral_mask::kThreads,
    edgefsa::spectral_mask::kBlocksAtOnce<AOT_TYPE, AOT_MODES_H, edgefsa::spectral_mask::kFormat>)
    edgefsaSpectralMask(const AOT_TYPE* x, const float* gain, const float* basis_h, const float* basis_w,
                        const float* coupling_gain, const float* coupling_base, int batch, AOT_TYPE* y) {
    using namespace edgefsa::spectral_mask;
    Work work = workOfShape(batch);
    work.op.x = x;
    work.op.y = y;
    work.op.gain = gain;
    work.op.basis_h = basis_h;
    work.op.basis_w = basis_w;
    work.op.coupling_gain = coupling_gain;
    work.op.coupling_base = coupling_base;
    const Shared shared = sharedOf(sharedLayout(work, kRowStride<AOT_MODES_H>, 1));
    const Tile tile = tileOf<AOT_VEC, kFormat>(work, static_cast<int>(blockIdx.x), 0);
    analyse<AOT_TYPE, AOT_VEC, AOT_MODES_H, kFormat, AOT_STAGED>(work, tile, shared);
    apply<AOT_TYPE, AOT_VEC, AOT_MODES_H, kFormat, AOT_STAGED>(work, tile, shared);
}
