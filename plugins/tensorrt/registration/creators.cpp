// SPDX-License-Identifier: Apache-2.0
#include "registration/creators.h"

#include "common/creator.h"
#include "common/logging.h"
#include "spectral_mask/spectral_mask_plugin.h"
#include "truncated_dct_attention/truncated_dct_attention_plugin.h"
#include "upsample_argmax/upsample_argmax_plugin.h"

nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) noexcept {
    static edgefsa::Creator<edgefsa::TruncatedDctAttentionPlugin> truncatedDctAttention;
    static edgefsa::Creator<edgefsa::SpectralMaskPlugin> spectralMask;
    static edgefsa::Creator<edgefsa::UpsampleArgmaxPlugin> upsampleArgmax;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&truncatedDctAttention, &spectralMask,
                                                                  &upsampleArgmax};
    count = static_cast<std::int32_t>(sizeof(creators) / sizeof(creators[0]));
    return creators;
}

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept { edgefsa::setLoggerFinder(finder); }
