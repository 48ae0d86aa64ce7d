"""The frequency operators for PyTorch on a GPU without TensorRT: custom operators over the project's CUDA kernels."""

from edgefsa.kernels.modules import use_kernels
from edgefsa.kernels.operators import spectral_mask, truncated_dct_attention, upsample_argmax

__all__ = ["spectral_mask", "truncated_dct_attention", "upsample_argmax", "use_kernels"]
