// SPDX-License-Identifier: Apache-2.0
// UpsampleArgmax as one kernel on plain pointers, for an engine that carries its PTX. NVRTC compiles it for one shape
// and type, which edgefsa/engines/tensorrt/plugins/aot_kernels.py defines as AOT_TYPE, AOT_INDEX (int or __half),
// AOT_CLASSES, AOT_LOW_HEIGHT, AOT_LOW_WIDTH, AOT_HEIGHT and AOT_WIDTH.
#include "kernels/upsample_argmax/upsample_argmax.cuh"

namespace edgefsa {
namespace upsample_argmax {

// Everything but the addresses.
__host__ __device__ constexpr Work workOfShape(int batch) {
    Work work = {};
    work.op.type = sizeof(AOT_TYPE) == 2 ? DataType::kHalf : DataType::kFloat;
    work.op.batch = batch;
    work.op.classes = AOT_CLASSES;
    work.op.low_height = AOT_LOW_HEIGHT;
    work.op.low_width = AOT_LOW_WIDTH;
    work.op.height = AOT_HEIGHT;
    work.op.width = AOT_WIDTH;
    work.ratio_h = static_cast<float>(AOT_LOW_HEIGHT) / static_cast<float>(AOT_HEIGHT);
    work.ratio_w = static_cast<float>(AOT_LOW_WIDTH) / static_cast<float>(AOT_WIDTH);
    work.row_bytes = divisionOf(work.op).row_bytes;
    return work;
}

constexpr Division kDivision = divisionOf(workOfShape(1).op);
constexpr int kMostThreads = kDivision.by_cells ? kMaxCellThreads : kPixelThreads;
constexpr int kLeastBlocks = kDivision.by_cells ? kCellBlocks<Format::kLinear, kDivision.is_staged> : 1;

}  // namespace upsample_argmax
}  // namespace edgefsa

// Read from the PTX: how to launch it for one sample, and the axis of the grid that counts samples.
extern "C" __device__ const int gridX = edgefsa::upsample_argmax::kDivision.grid_x;
extern "C" __device__ const int gridY = edgefsa::upsample_argmax::kDivision.grid_y;
extern "C" __device__ const int gridZ = edgefsa::upsample_argmax::kDivision.grid_z;
extern "C" __device__ const int batchAxis = edgefsa::upsample_argmax::kDivision.by_cells ? 2 : 1;
extern "C" __device__ const int blockX = edgefsa::upsample_argmax::kDivision.block_x;
extern "C" __device__ const int blockY = edgefsa::upsample_argmax::kDivision.block_y;
extern "C" __device__ const int sharedBytes = edgefsa::upsample_argmax::kDivision.shared_bytes;

extern "C" __global__ void __launch_bounds__(edgefsa::upsample_argmax::kMostThreads,
                                             edgefsa::upsample_argmax::kLeastBlocks)
    edgefsaUpsampleArgmax(const AOT_TYPE* logits, int batch, AOT_INDEX* mask) {
    using namespace edgefsa::upsample_argmax;
    Work work = workOfShape(batch);
    work.op.x = logits;
    work.op.y = mask;
    if constexpr (kDivision.by_cells) {
        computeCells<AOT_TYPE, AOT_INDEX, edgefsa::Format::kLinear, kDivision.is_staged>(work);
    } else {
        computePixels<AOT_TYPE, AOT_INDEX, edgefsa::Format::kLinear>(work);
    }
}
