// SPDX-License-Identifier: Apache-2.0
// The launchers under C names, in every library: a session calls them without TensorRT.
#include "frame_preparation.h"

#define EDGEFSA_ENTRY extern "C" __attribute__((visibility("default")))

EDGEFSA_ENTRY int edgefsaFramePreparationParamsBytes() { return sizeof(edgefsa::FramePreparationParams); }
EDGEFSA_ENTRY int edgefsaLaunchFramePreparation(const edgefsa::FramePreparationParams* params, void* workspace,
                                                cudaStream_t stream) {
    return static_cast<int>(edgefsa::launchFramePreparation(*params, workspace, stream));
}

EDGEFSA_ENTRY int edgefsaMaskRestorationParamsBytes() { return sizeof(edgefsa::MaskRestorationParams); }
EDGEFSA_ENTRY int edgefsaLaunchMaskRestoration(const edgefsa::MaskRestorationParams* params, void* workspace,
                                               cudaStream_t stream) {
    return static_cast<int>(edgefsa::launchMaskRestoration(*params, workspace, stream));
}
