// SPDX-License-Identifier: Apache-2.0
// Frames to images: bilinear resize, BGR to RGB, normalisation, and the layout that the network reads.
#include "../common.cuh"
#include "../launch_checks.h"
#include "frame_preparation.h"

namespace edgefsa {
namespace frame_preparation {
namespace {

constexpr int kThreads = 256;
constexpr int kColours = 3;
constexpr int kRun = 16;  // pixels that a thread takes at once where nothing is resized: 48 bytes of the frame

struct Work {
    FramePreparationParams op;
    float ratio_h;  // frame_height / height
    float ratio_w;
    float inverse_std_rgb[kColours];
};

struct Pixel {
    float blue, green, red;
};

__device__ __forceinline__ Pixel pixelAt(const std::uint8_t* address) {
    return {static_cast<float>(address[0]), static_cast<float>(address[1]), static_cast<float>(address[2])};
}

__device__ __forceinline__ Pixel mixed(const Pixel& a, const Pixel& b, float share) {
    return {fmaf(share, b.blue - a.blue, a.blue), fmaf(share, b.green - a.green, a.green),
            fmaf(share, b.red - a.red, a.red)};
}

__device__ __forceinline__ float normalised(const Work& work, float value, int colour) {
    return (value - work.op.mean_rgb[colour]) * work.inverse_std_rgb[colour];
}

// Where a pixel's centre lies in the frame; pixels beyond the border repeat it.
__device__ __forceinline__ float positionOf(int pixel, float ratio, int size) {
    const float position = fmaf(ratio, static_cast<float>(pixel) + 0.5f, -0.5f);
    return fminf(fmaxf(position, 0.0f), static_cast<float>(size - 1));
}

__device__ __forceinline__ Pixel resizedAt(const Work& work, const std::uint8_t* frame, int y, int x) {
    const FramePreparationParams& op = work.op;
    const float down = positionOf(y, work.ratio_h, op.frame_height);
    const float across = positionOf(x, work.ratio_w, op.frame_width);
    const int top = static_cast<int>(down);
    const int left = static_cast<int>(across);
    const std::size_t row_bytes = static_cast<std::size_t>(op.frame_width) * kColours;
    const std::uint8_t* at = frame + top * row_bytes + left * kColours;
    const int right = left + 1 < op.frame_width ? kColours : 0;
    const std::size_t below = top + 1 < op.frame_height ? row_bytes : 0;
    const float share = across - static_cast<float>(left);
    const Pixel upper = mixed(pixelAt(at), pixelAt(at + right), share);
    const Pixel lower = mixed(pixelAt(at + below), pixelAt(at + below + right), share);
    return mixed(upper, lower, down - static_cast<float>(top));
}

// Writes COUNT neighbouring pixels of an image, of which `index` is the first.
template <typename T, int COUNT>
__device__ __forceinline__ void storePlanes(const Work& work, T* image, std::size_t index,
                                            const Pixel (&pixels)[COUNT]) {
    constexpr int kMost = 16 / static_cast<int>(sizeof(T));
    constexpr int kPack = COUNT < kMost ? COUNT : kMost;
    const std::size_t plane = static_cast<std::size_t>(work.op.height) * work.op.width;
#pragma unroll
    for (int colour = 0; colour < kColours; ++colour) {
#pragma unroll
        for (int first = 0; first < COUNT; first += kPack) {
            Pack<T, kPack> values;
#pragma unroll
            for (int k = 0; k < kPack; ++k) {
                const Pixel& pixel = pixels[first + k];
                const float value = colour == 0 ? pixel.red : colour == 1 ? pixel.green : pixel.blue;
                values.values[k] = fromFloat<T>(normalised(work, value, colour));
            }
            storeGlobal(image + colour * plane + index + first, values);
        }
    }
}

__device__ __forceinline__ void storeGroup(const Work& work, __half* image, std::size_t index, const Pixel& pixel) {
    Pack<__half, 8> values;
    values.values[0] = fromFloat<__half>(normalised(work, pixel.red, 0));
    values.values[1] = fromFloat<__half>(normalised(work, pixel.green, 1));
    values.values[2] = fromFloat<__half>(normalised(work, pixel.blue, 2));
#pragma unroll
    for (int k = kColours; k < 8; ++k) {
        values.values[k] = fromFloat<__half>(0.0f);
    }
    storeGlobal(image + index * 8, values);
}

// kRun pixels a thread, of frames that have the image's size; blockIdx.y counts samples.
template <typename T>
__global__ void __launch_bounds__(kThreads) normaliseRuns(const Work work) {
    const std::size_t count = static_cast<std::size_t>(work.op.height) * work.op.width;
    const std::size_t index = (static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x) * kRun;
    if (index >= count) {
        return;
    }
    const std::uint8_t* frame = static_cast<const std::uint8_t*>(work.op.frames) + blockIdx.y * count * kColours;
    std::uint8_t bytes[kRun * kColours];
#pragma unroll
    for (int part = 0; part < kColours; ++part) {
        const Pack<std::uint8_t, 16> loaded = loadPack<16>(frame + index * kColours + part * 16);
#pragma unroll
        for (int k = 0; k < 16; ++k) {
            bytes[part * 16 + k] = loaded.values[k];
        }
    }
    Pixel pixels[kRun];
#pragma unroll
    for (int k = 0; k < kRun; ++k) {
        pixels[k] = pixelAt(bytes + k * kColours);
    }
    storePlanes(work, static_cast<T*>(work.op.image) + blockIdx.y * count * kColours, index, pixels);
}

// COUNT pixels of a row a thread, resized where the sizes differ; blockIdx.y counts samples.
template <typename T, int COUNT, Format FORMAT>
__global__ void __launch_bounds__(kThreads) resizeRuns(const Work work) {
    const FramePreparationParams& op = work.op;
    const std::size_t count = static_cast<std::size_t>(op.height) * op.width;
    const std::size_t index = (static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x) * COUNT;
    if (index >= count) {
        return;
    }
    const int y = static_cast<int>(index / op.width);
    const int x = static_cast<int>(index - static_cast<std::size_t>(y) * op.width);
    const std::size_t frame_bytes = static_cast<std::size_t>(op.frame_height) * op.frame_width * kColours;
    const std::uint8_t* frame = static_cast<const std::uint8_t*>(op.frames) + blockIdx.y * frame_bytes;
    Pixel pixels[COUNT];
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
        pixels[k] = resizedAt(work, frame, y, x + k);
    }
    if constexpr (FORMAT == Format::kHwc8) {
        storeGroup(work, static_cast<T*>(op.image), blockIdx.y * count + index, pixels[0]);
    } else {
        storePlanes(work, static_cast<T*>(op.image) + blockIdx.y * count * kColours, index, pixels);
    }
}

bool isLaunchable(const FramePreparationParams& p) noexcept {
    const bool has_extents = areExtents({p.batch, p.frame_height, p.frame_width, p.height, p.width});
    const bool has_std = p.std_rgb[0] != 0.0f && p.std_rgb[1] != 0.0f && p.std_rgb[2] != 0.0f;
    return has_extents && has_std && p.type != DataType::kInt8 && isLayout(p.type, p.format) && areGiven({p.frames}) &&
           isMap(p.image, p.format);
}

cudaError_t launchRuns(void (*kernel)(Work), const Work& work, int pixels, cudaStream_t stream) noexcept {
    const std::size_t threads =
        ceilDiv(static_cast<std::size_t>(work.op.height) * work.op.width, static_cast<std::size_t>(pixels));
    const dim3 grid(static_cast<unsigned>(ceilDiv(threads, std::size_t{kThreads})), work.op.batch);
    return launchKernel(kernel, grid, kThreads, 0, stream, work);
}

template <typename T>
cudaError_t launchPlanes(const Work& work, cudaStream_t stream) noexcept {
    constexpr int kPack = 16 / static_cast<int>(sizeof(T));
    const FramePreparationParams& op = work.op;
    const bool is_same = op.height == op.frame_height && op.width == op.frame_width;
    const bool has_runs = static_cast<std::size_t>(op.height) * op.width % kRun == 0 &&
                          rowsAreAligned(op.frames, 1, kRun, kRun) && rowsAreAligned(op.image, sizeof(T), kRun, kPack);
    if (is_same && has_runs) {
        return launchRuns(normaliseRuns<T>, work, kRun, stream);
    }
    if (rowsAreAligned(op.image, sizeof(T), op.width, kPack)) {
        return launchRuns(resizeRuns<T, kPack, Format::kLinear>, work, kPack, stream);
    }
    return launchRuns(resizeRuns<T, 1, Format::kLinear>, work, 1, stream);
}

}  // namespace
}  // namespace frame_preparation

cudaError_t launchFramePreparation(const FramePreparationParams& params, void*, cudaStream_t stream) noexcept {
    if (!frame_preparation::isLaunchable(params)) {
        return cudaErrorInvalidValue;
    }
    frame_preparation::Work work = {};
    work.op = params;
    work.ratio_h = static_cast<float>(params.frame_height) / static_cast<float>(params.height);
    work.ratio_w = static_cast<float>(params.frame_width) / static_cast<float>(params.width);
    for (int colour = 0; colour < frame_preparation::kColours; ++colour) {
        work.inverse_std_rgb[colour] = 1.0f / params.std_rgb[colour];
    }
    if (params.format == Format::kHwc8) {
        return frame_preparation::launchRuns(frame_preparation::resizeRuns<__half, 1, Format::kHwc8>, work, 1, stream);
    }
    return params.type == DataType::kHalf ? frame_preparation::launchPlanes<__half>(work, stream)
                                          : frame_preparation::launchPlanes<float>(work, stream);
}

}  // namespace edgefsa
