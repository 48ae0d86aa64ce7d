# SPDX-License-Identifier: Apache-2.0
"""Sources of the CUDA kernels and of the TensorRT plugins around them."""
