#!/usr/bin/env bash
# All that wants a GPU in one command: the tests of the kernels, benchmarks/kernels.py --check, compute-sanitizer.
#
#   benchmarks/on_gpu.sh [FOLDER [LIBRARY]]
#
# Logs and kernels.json go to FOLDER (build/on_gpu). The kernels are built here with cmake and nvcc, unless LIBRARY is
# given: `make plugins KERNELS_ONLY=1 CUDA_ARCHITECTURES=90` builds build/plugins/libedgefsa_kernels.so for an H100 or
# H200 on any machine. It needs Python with PyTorch for CUDA, NumPy and pytest (PYTHON names it) and no installation.
# Each step has STEP_SECONDS; the status is 1 where one of them fails, and the later ones run all the same.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/on_gpu}
library=${2:-}
python=${PYTHON:-python3}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
mkdir -p "$folder"
status=0

step() {
    local name=$1
    shift
    echo "== $name"
    timeout "${STEP_SECONDS:-540}" "$@" 2>&1 | tee "$folder/$name.log" || status=1
}

if [ -z "$library" ]; then
    library=$("$python" -c '
import sys, torch
sys.path.insert(0, "benchmarks")
from _kernels import build_kernels
print(build_kernels(".".join(map(str, torch.cuda.get_device_capability()))))') || exit 2
fi
export EDGEFSA_KERNELS=$library EDGEFSA_REQUIRE_GPU=1
step tests "$python" -m pytest -q -p no:cacheprovider tests/gpu/test_kernels.py
step benchmark "$python" benchmarks/kernels.py --library "$library" --check --output "$folder/kernels.json"
step sanitizer env PYTHON="$python" tests/gpu/sanitize.sh -k "not graph and not 512"
exit $status
