// SPDX-License-Identifier: Apache-2.0
// Step 3: y = x + update + shift, in whichever format.

#include "checks.h"
#include "inverse_dct.cuh"

namespace edgefsa {

InverseArguments inverseArguments(const InverseDctParams& p) noexcept {
    InverseArguments a = {};
    a.x = p.x;
    a.y = p.y;
    a.changes = p.change;
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
    a.passes = 1;
    a.shift_gain = p.shift_gain;
    a.x_scale = p.x_scale;
    a.y_gain = p.type == DataType::kInt8 ? 1.0f / p.y_scale : 1.0f;
    return a;
}

cudaError_t launchInverse(const InverseArguments& a, DataType type, Format format, Chain& chain) noexcept {
    return format == Format::kHwc8 ? launchInverseHwc(a, chain) : launchInverseLinear(a, type, chain);
}

cudaError_t launchInverseDct(const InverseDctParams& p, void* /*workspace*/, cudaStream_t stream) noexcept {
    if (!isLaunchable(p)) {
        return cudaErrorInvalidValue;
    }
    Chain chain(stream);
    return launchInverse(inverseArguments(p), p.type, p.format, chain);
}

}  // namespace edgefsa
