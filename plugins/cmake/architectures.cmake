# SPDX-License-Identifier: Apache-2.0
# Chooses CMAKE_CUDA_ARCHITECTURES: what was given, all that are supported, or those of this machine's GPUs.
set(supported_architectures 75 80 86 87 89 90 100 103 110 120 121)

if(EDGEFSA_ALL_ARCHITECTURES)
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(CMAKE_CUDA_ARCHITECTURES "")
    foreach(architecture IN LISTS supported_architectures)
        if(known MATCHES "compute_${architecture}([^0-9]|$)")
            list(APPEND CMAKE_CUDA_ARCHITECTURES ${architecture})
        else()
            message(STATUS "nvcc ${CMAKE_CUDA_COMPILER_VERSION} does not know sm_${architecture}: left out")
        endif()
    endforeach()
elseif(given_architectures)
    if(NOT given_architectures MATCHES "^([0-9]+(-real|-virtual)?;?)+$")
        message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES is ${given_architectures}: give numbers, as 87 or \"86;89\", or "
                            "leave it out for this machine's GPU")
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${given_architectures})
else()
    # CMake's own "native" came with 3.24; JetPack 6 has 3.22.
    execute_process(
        COMMAND ${CMAKE_CUDA_COMPILER} --run -o ${CMAKE_CURRENT_BINARY_DIR}/gpu_architectures
                ${CMAKE_CURRENT_LIST_DIR}/gpu_architectures.cu
        OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(status EQUAL 0 AND found)
        set(CMAKE_CUDA_ARCHITECTURES ${found})
    elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
        set(CMAKE_CUDA_ARCHITECTURES 87)
    else()
        set(CMAKE_CUDA_ARCHITECTURES 86)
    endif()
    if(NOT found)
        message(STATUS "No GPU here: compiling for sm_${CMAKE_CUDA_ARCHITECTURES}; -DCMAKE_CUDA_ARCHITECTURES changes it")
    endif()
endif()
string(REPLACE ";" "," architecture_text "${CMAKE_CUDA_ARCHITECTURES}")
message(STATUS "Compiling for sm_${architecture_text}")
