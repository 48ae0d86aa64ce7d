# SPDX-License-Identifier: Apache-2.0
# Finds TensorRT's headers. Packages put them in the system's include folders, an unpacked archive in its own.
find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h
    HINTS ${TENSORRT_ROOT} ENV TENSORRT_ROOT
    PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} /usr/local/tensorrt /usr/src/tensorrt
    PATH_SUFFIXES include
    DOC "The folder of TensorRT's NvInferRuntime.h")
if(NOT TENSORRT_INCLUDE_DIR)
    message(FATAL_ERROR "TensorRT's headers are not here: install libnvinfer-headers-dev, or give the folder of "
                        "NvInferRuntime.h with -DTENSORRT_INCLUDE_DIR (EDGEFSA_KERNELS_ONLY=ON builds without it)")
endif()
if(NOT EXISTS "${TENSORRT_INCLUDE_DIR}/NvInferRuntime.h")
    message(FATAL_ERROR "TENSORRT_INCLUDE_DIR is ${TENSORRT_INCLUDE_DIR}, and NvInferRuntime.h is not in it")
endif()
message(STATUS "TensorRT headers: ${TENSORRT_INCLUDE_DIR}")
