// SPDX-License-Identifier: Apache-2.0
// The launchers under C names, for ctypes: benchmarks and the tests on a GPU call the kernels without TensorRT. Those
// of frame preparation are in its own entries.cpp.
#include "kernels/overlapping_launches.h"
#include "kernels/spectral_mask/spectral_mask.h"
#include "kernels/truncated_dct_attention/truncated_dct_attention.h"
#include "kernels/upsample_argmax/upsample_argmax.h"

#define EDGEFSA_EXPORT extern "C" __attribute__((visibility("default")))

#define EDGEFSA_LAUNCHER(Name)                                                                   \
    EDGEFSA_EXPORT int edgefsa##Name##ParamsBytes() { return sizeof(edgefsa::Name##Params); }    \
    EDGEFSA_EXPORT int edgefsaLaunch##Name(const edgefsa::Name##Params* params, void* workspace, \
                                           cudaStream_t stream) {                                \
        return static_cast<int>(edgefsa::launch##Name(*params, workspace, stream));              \
    }
#define EDGEFSA_LAUNCHER_WITH_WORKSPACE(Name, workspaceBytes)                                       \
    EDGEFSA_LAUNCHER(Name)                                                                          \
    EDGEFSA_EXPORT std::size_t edgefsa##Name##WorkspaceBytes(const edgefsa::Name##Params* params) { \
        return edgefsa::workspaceBytes(*params);                                                    \
    }

EDGEFSA_LAUNCHER_WITH_WORKSPACE(TruncatedDctAttention, truncatedDctAttentionWorkspaceBytes)
EDGEFSA_LAUNCHER_WITH_WORKSPACE(TruncatedDct, truncatedDctWorkspaceBytes)
EDGEFSA_LAUNCHER_WITH_WORKSPACE(CoefficientAttention, coefficientAttentionWorkspaceBytes)
EDGEFSA_LAUNCHER(InverseDct)
EDGEFSA_LAUNCHER_WITH_WORKSPACE(SpectralMask, spectralMaskWorkspaceBytes)
EDGEFSA_LAUNCHER(UpsampleArgmax)

// Whether launches of an operator may begin before the one before has ended, as they do at first where the GPU can.
EDGEFSA_EXPORT void edgefsaAllowOverlappingLaunches(int allowed) {
    edgefsa::overlapping_launches_allowed = allowed != 0;
}
