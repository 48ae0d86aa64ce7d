#!/usr/bin/env bash
# Runs the kernel tests under compute-sanitizer: memory, races in shared memory, reads of what was never written.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ ! -x "$sanitizer" ]; then
    echo "compute-sanitizer is not here; install the CUDA toolkit" >&2
    exit 2
fi
for tool in memcheck racecheck synccheck; do
    echo "== $tool"
    EDGEFSA_REQUIRE_GPU=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$tool" --error-exitcode 1 \
        "$python" -m pytest -q -p no:xdist tests/gpu/test_kernels.py -k "not graph" "$@"
done
