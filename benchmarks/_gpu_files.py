"""What `on_gpu.sh` carries to a machine with a GPU, and where each file lies in its folder."""

from __future__ import annotations

# As CMake has it -> the kernels' library. PTX alone is compiled by the driver: Turing's and Orin's code on any GPU.
KERNELS = {
    "90": "kernels-sm_90.so",
    "75-virtual": "kernels-compute_75.so",
    "87-virtual": "kernels-compute_87.so",
}
PLUGINS, DRIVER = "plugins-sm_90.so", "plugin-driver.so"
AOT = "aot"  # a folder of one JSON for each kernel
LIMIT_BYTES = 64 << 20  # of all that travels, the tracked files among it
