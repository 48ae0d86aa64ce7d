#!/usr/bin/env bash
# All that wants a GPU in one command of eight minutes, without TensorRT and without an installation of edgefsa:
#
#   make gpu-files TENSORRT_INCLUDE_DIR=DIR        # on a machine with nvcc: fills build/on_gpu, which is carried along
#   benchmarks/on_gpu.sh [RESULTS [FILES]]         # on the machine with the GPU
#
# Writes one JSON for each of its seven steps and logs.txt to RESULTS (build/on_gpu_results), from the FILES of
# build/on_gpu. benchmarks/_gpu_steps.py lists the steps, _gpu_session.py says what each status means; PYTHON names the
# Python.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" benchmarks/_gpu_session.py "$@"
