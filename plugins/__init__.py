"""Sources of the CUDA kernels and of the TensorRT plugins around them."""
