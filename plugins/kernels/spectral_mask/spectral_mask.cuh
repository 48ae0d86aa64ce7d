// SPDX-License-Identifier: Apache-2.0
// The kernels of SpectralMask: analysis of a plane by its lowest modes, their coupling, and synthesis.
#pragma once

#include "plane.cuh"
#include "two_passes.cuh"

namespace edgefsa {
namespace spectral_mask {

// Sums COUNT (a power of 2) values over the warp: at each distance the lanes give half of theirs away, so that in the
// end a lane holds one value, the one that its number's first bits name, over all lanes of equal remaining bits.
template <int COUNT>
__device__ __forceinline__ float scatterSums(float (&values)[COUNT], int lane) {
    int distance = kWarpSize / 2;
#pragma unroll
    for (int half = COUNT / 2; half > 0; half /= 2) {
        const bool upper = (lane & distance) != 0;
#pragma unroll
        for (int k = 0; k < half; ++k) {
            const float low = values[k];
            const float high = values[k + half];
            values[k] = (upper ? high : low) + __shfl_xor_sync(kWholeWarp, upper ? low : high, distance);
        }
        distance /= 2;
    }
    return values[0];
}

// Adds the products of a thread's column sums and basis_w to the warp's sums; all lanes must call it.
template <int VEC, int MODES_H, Format FORMAT>
__device__ __forceinline__ void addTokens(const float (&columns)[MODES_H][VEC], const Work& work, const Shared& shared,
                                          int pack) {
    const SpectralMaskParams& op = work.op;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    float* sums = shared.sums + static_cast<int>(threadIdx.x) / kWarpSize *
                                    roundUp(op.modes_h * op.modes_w * kPlaneChannels<FORMAT>, 4);
    for (int j = 0; j < op.modes_w; ++j) {
        const float* basis = shared.basis_w + j * op.width;
        if constexpr (FORMAT == Format::kHwc8) {
            const float weight = basis[pack / kGroups];
#pragma unroll
            for (int i = 0; i < MODES_H; ++i) {
                float values[VEC];
#pragma unroll
                for (int c = 0; c < VEC; ++c) {
                    values[c] = columns[i][c] * weight;
                }
                const float sum = scatterSums<VEC>(values, lane);
                if (i < op.modes_h) {
                    sums[(i * op.modes_w + j) * (kGroups * VEC) + lane % kGroups * VEC + lane / kGroups] += sum;
                }
            }
        } else {
            constexpr int kCount = MODES_H <= 4 ? 4 : MODES_H <= 8 ? 8 : 16;
            float values[kCount] = {};
#pragma unroll
            for (int c = 0; c < VEC; ++c) {
                const float weight = basis[pack * VEC + c];
#pragma unroll
                for (int i = 0; i < MODES_H; ++i) {
                    values[i] = fmaf(columns[i][c], weight, values[i]);
                }
            }
            float sum = scatterSums<kCount>(values, lane);
#pragma unroll
            for (int distance = kWarpSize / kCount / 2; distance > 0; distance /= 2) {
                sum += __shfl_xor_sync(kWholeWarp, sum, distance);
            }
            const int i = lane / (kWarpSize / kCount);
            if (lane % (kWarpSize / kCount) == 0 && i < op.modes_h) {
                sums[i * op.modes_w + j] += sum;
            }
        }
    }
}

// Fills shared.tokens with the band's share of basis_h^T x basis_w, and shared.staged with the band where STAGE.
template <typename T, int VEC, int MODES_H, Format FORMAT, bool STAGE>
__device__ __forceinline__ void analyse(const Work& work, const Tile& tile, const Shared& shared) {
    const int tokens = work.op.modes_h * work.op.modes_w * kPlaneChannels<FORMAT>;
    for (int i = threadIdx.x; i < kWarps * roundUp(tokens, 4); i += kThreads) {
        shared.sums[i] = 0.0f;
    }
    loadBases<kRowStride<MODES_H>>(work, tile, shared);
    __syncthreads();
    const T* x = static_cast<const T*>(work.op.x) + tile.offset;
    T* staged = static_cast<T*>(shared.staged);
    for (int first = 0; first < tile.packs; first += tile.packs_at_once) {
        const int pack = first + tile.pack;
        const bool is_held = holds<FORMAT>(tile, pack);
        const int element = elementOf<VEC, FORMAT>(tile, work.op.width, pack);
        float columns[MODES_H][VEC] = {};
#pragma unroll 4
        for (int row = is_held ? tile.row : tile.rows; row < tile.rows; row += tile.rows_at_once) {
            const Pack<T, VEC> values = loadPack<VEC>(x + static_cast<std::size_t>(row) * tile.row_stride + element);
            if constexpr (STAGE) {
                storePack(staged + (row * tile.packs + pack) * VEC, values);
            }
#pragma unroll
            for (int i = 0; i < MODES_H; ++i) {
                const float weight = shared.basis_h[row * kRowStride<MODES_H> + i];
#pragma unroll
                for (int c = 0; c < VEC; ++c) {
                    columns[i][c] = fmaf(weight, toFloat(values.values[c]), columns[i][c]);
                }
            }
        }
        addTokens<VEC, MODES_H, FORMAT>(columns, work, shared, pack < tile.packs ? pack : 0);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tokens; i += kThreads) {
        float sum = 0.0f;
        for (int warp = 0; warp < kWarps; ++warp) {
            sum += shared.sums[warp * roundUp(tokens, 4) + i];
        }
        shared.tokens[i] = sum;
    }
}

// Turns shared.tokens into shared.changes, gain (t Cg) - t Cb for each channel, in units of y.
template <Format FORMAT>
__device__ __forceinline__ void mix(const Work& work, const Tile& tile, const Shared& shared) {
    constexpr int kChannels = kPlaneChannels<FORMAT>;
    const SpectralMaskParams& op = work.op;
    const int modes = op.modes_h * op.modes_w;
    const float unit = work.x_scale * work.inverse_y_scale;
    for (int i = threadIdx.x; i < modes * kChannels; i += kThreads) {
        const int mode = i / kChannels;
        const int channel = i - mode * kChannels;
        float by_gain = 0.0f;
        float base = 0.0f;
        for (int k = 0; k < modes; ++k) {
            const float token = shared.tokens[k * kChannels + channel];
            by_gain = fmaf(token, op.coupling_gain[k * modes + mode], by_gain);
            base = fmaf(token, op.coupling_base[k * modes + mode], base);
        }
        const float gain = channel < tile.channels ? op.gain[tile.first_channel + channel] : 0.0f;
        shared.changes[i] = (gain * by_gain - base) * unit;
    }
}

// Writes the band of y from x, in shared memory where STAGED, and shared.changes.
template <typename T, int VEC, int MODES_H, Format FORMAT, bool STAGED>
__device__ __forceinline__ void synthesise(const Work& work, const Tile& tile, const Shared& shared) {
    constexpr int kChannels = kPlaneChannels<FORMAT>;
    const SpectralMaskParams& op = work.op;
    const T* x = static_cast<const T*>(op.x) + tile.offset;
    T* y = static_cast<T*>(op.y) + tile.offset;
    const T* staged = static_cast<const T*>(shared.staged);
    for (int first = 0; first < tile.packs; first += tile.packs_at_once) {
        const int pack = first + tile.pack;
        if (!holds<FORMAT>(tile, pack)) {
            continue;
        }
        const int element = elementOf<VEC, FORMAT>(tile, op.width, pack);
        const int group = FORMAT == Format::kHwc8 ? pack % kGroups * kGroupChannels : 0;
        const int column = FORMAT == Format::kHwc8 ? pack / kGroups : pack * VEC;
        float rest[VEC];
#pragma unroll
        for (int c = 0; c < VEC; ++c) {
            const int channel = FORMAT == Format::kHwc8 ? min(group + c, tile.channels - 1) : 0;
            rest[c] = (1.0f - op.gain[tile.first_channel + channel]) * work.x_scale * work.inverse_y_scale;
        }
        float columns[MODES_H][VEC] = {};
        for (int j = 0; j < op.modes_w; ++j) {
#pragma unroll
            for (int i = 0; i < MODES_H; ++i) {
#pragma unroll
                for (int c = 0; c < VEC; ++c) {
                    const int across = FORMAT == Format::kHwc8 ? 0 : c;
                    const float change =
                        i < op.modes_h ? shared.changes[(i * op.modes_w + j) * kChannels + group + c - across] : 0.0f;
                    const float weight = shared.basis_w[j * op.width + column + across];
                    columns[i][c] = fmaf(change, weight, columns[i][c]);
                }
            }
        }
#pragma unroll 4
        for (int row = tile.row; row < tile.rows; row += tile.rows_at_once) {
            const std::size_t at = static_cast<std::size_t>(row) * tile.row_stride + element;
            const Pack<T, VEC> values =
                STAGED ? loadPack<VEC>(staged + (row * tile.packs + pack) * VEC) : loadPack<VEC>(x + at);
            Pack<T, VEC> results;
            float sums[VEC];
#pragma unroll
            for (int c = 0; c < VEC; ++c) {
                sums[c] = rest[c] * toFloat(values.values[c]);
            }
#pragma unroll
            for (int i = 0; i < MODES_H; ++i) {
                const float weight = shared.basis_h[row * kRowStride<MODES_H> + i];
#pragma unroll
                for (int c = 0; c < VEC; ++c) {
                    sums[c] = fmaf(weight, columns[i][c], sums[c]);
                }
            }
#pragma unroll
            for (int c = 0; c < VEC; ++c) {
                const bool is_padding = FORMAT == Format::kHwc8 && group + c >= tile.channels;
                results.values[c] = fromFloat<T>(is_padding ? 0.0f : sums[c]);
            }
            storePack(y + at, results);
        }
    }
}

// Blocks that a multiprocessor's registers must have room for: several keep its memory busy while one computes. What is
// compiled for 11.0 and 12.0 needs more registers than a third block leaves, and channels-last for 12.0 than a second;
// so do int8 where CUDA 12.2 compiles it, and all of 12.0 where CUDA 12.9 does.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200 && __CUDACC_VER_MAJOR__ < 13
constexpr int kMostBlocks = 1, kMostHwc8Blocks = 1;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int kMostBlocks = 2, kMostHwc8Blocks = 1;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kMostBlocks = 2, kMostHwc8Blocks = 2;
#else
constexpr int kMostBlocks = 3, kMostHwc8Blocks = 2;
#endif
template <typename T, int MODES_H, Format FORMAT>
constexpr int kBlocksAtOnce = MODES_H > 5                         ? 1
                              : FORMAT == Format::kHwc8           ? kMostHwc8Blocks
                              : sizeof(T) == 1 && kMostBlocks > 2 ? 2
                                                                  : kMostBlocks;

// Turns shared.tokens into the band of y.
template <typename T, int VEC, int MODES_H, Format FORMAT, bool STAGED>
__device__ __forceinline__ void apply(const Work& work, const Tile& tile, const Shared& shared) {
    __syncthreads();
    mix<FORMAT>(work, tile, shared);
    __syncthreads();
    synthesise<T, VEC, MODES_H, FORMAT, STAGED>(work, tile, shared);
}

template <typename T, int VEC, int MODES_H, Format FORMAT, Passes PASSES>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce<T, MODES_H, FORMAT>) spectralMaskKernel(const Work work) {
    const Shared shared = sharedOf(sharedLayout(work, kRowStride<MODES_H>, kPlaneChannels<FORMAT>));
    if constexpr (PASSES == Passes::kOne) {
        const Tile tile = tileOf<VEC, FORMAT>(work, static_cast<int>(blockIdx.x), 0);
        analyse<T, VEC, MODES_H, FORMAT, true>(work, tile, shared);
        apply<T, VEC, MODES_H, FORMAT, true>(work, tile, shared);
    } else {
        const Job job = takeJob(work, shared);
        const Tile tile = tileOf<VEC, FORMAT>(work, job.plane, job.band);
        const int tokens = work.op.modes_h * work.op.modes_w * kPlaneChannels<FORMAT>;
        if (job.is_second) {
            loadBases<kRowStride<MODES_H>>(work, tile, shared);
            takeOver(work, job, tokens, shared);
            apply<T, VEC, MODES_H, FORMAT, false>(work, tile, shared);
        } else {
            analyse<T, VEC, MODES_H, FORMAT, false>(work, tile, shared);
            handOver(work, job, tokens, shared);
        }
    }
}

}  // namespace spectral_mask
}  // namespace edgefsa
