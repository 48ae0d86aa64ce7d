# Everything that a person or CI runs. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup setup-dev demo test check bench soak ablations plugins plugins-all gpu-files clean

help:
	@echo "make demo    set up, build an INT8 engine, segment a clip, print accuracy, latency and file names"
	@echo "make test    set up, run the tests"
	@echo "make check   ruff, mypy, clang-format"
	@echo "make bench   the programs that print the tables of the README and of docs/models"
	@echo "make soak    ten minutes of a live run whose source fails over and over: memory, handles, recovery"
	@echo "make ablations DATA=camvid:DIR [RUNS=runs]   train and measure with and without the frequency blocks (takes long)"
	@echo "make gpu-files   kernels, plugins and PTX for benchmarks/on_gpu.sh (TENSORRT_INCLUDE_DIR=DIR)"
	@echo "make plugins the TensorRT plugins for this machine's GPU (TENSORRT_INCLUDE_DIR=DIR, CUDA_ARCHITECTURES=87)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else "edgefsa needs Python 3.10 to 3.13, this is %d.%d; name another one: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing edgefsa and what it builds with into $(VENV) (once; some 300 MB without CUDA) ..."
	@$(PIP) -e '.[build,cpu,report,serve]'
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	@echo "Installing the test and check tools ..."
	@$(PIP) -e '.[build,cpu,report,serve,dev]'
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(PIP) -e '.[rtx]'; \
	 else echo "TensorRT-RTX has no package for $$(uname -sm): its tests will be skipped"; fi
	@touch $@

setup: $(VENV)/.setup
setup-dev: $(VENV)/.setup-dev

demo: $(VENV)/.setup
	@$(BIN)/python demos/quickstart.py $(DEMO_FLAGS)

test: $(VENV)/.setup-dev
	@$(BIN)/python -m pytest -n auto $(PYTEST_FLAGS)

check: $(VENV)/.setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@files=$$(git ls-files '*.cu' '*.cuh' '*.cpp' '*.h' '*.hpp'); \
	 if [ -n "$$files" ]; then $(BIN)/clang-format --dry-run --Werror $$files; fi

# DATA=camvid:DIR adds the accuracy table of the README, which needs real labelled frames.
bench: $(VENV)/.setup-dev
	@$(BIN)/python benchmarks/frequency.py
	@$(BIN)/python benchmarks/latency.py
	@$(BIN)/python benchmarks/reference.py
	@$(BIN)/python benchmarks/live.py
	@$(BIN)/python benchmarks/accuracy.py
	@if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/accuracy.py --data "$(DATA)"; fi
	@if [ -n "$(DATA)" ] && $(BIN)/python -c "import nncf" 2>/dev/null; then $(BIN)/python benchmarks/peers.py --data "$(DATA)"; fi
	@if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/fit.py --data "$(DATA)"; fi
	@$(BIN)/python benchmarks/tables.py

# Ten minutes of a source that fails over and over.
soak: $(VENV)/.setup-dev
	@$(BIN)/python benchmarks/soak.py
	@$(BIN)/python benchmarks/tables.py

# Runs that RUNS holds already are taken as they are, interrupted ones go on.
RUNS ?= runs
ablations: $(VENV)/.setup-dev
	@test -n "$(DATA)" || { echo "error: name the data to train on: make ablations DATA=camvid:DIR"; exit 2; }
	@$(BIN)/python benchmarks/ablation.py --data "$(DATA)" --runs "$(RUNS)"
	@$(BIN)/python benchmarks/nonlocal_swap.py --data "$(DATA)" --weights "$(RUNS)/fsa_nonlocal/weights.safetensors"
	@$(BIN)/python benchmarks/tables.py

# CMake finds the headers that a system package installed. KERNELS_ONLY=1 builds without them; JOBS is the number of
# compilers at once, by default as many as the free memory takes. plugins-all compiles for every architecture that edgefsa supports and this nvcc knows.
JOBS ?= $(shell $(PYTHON) edgefsa/engines/tensorrt/plugins/cmake.py)
PLUGINS_BUILD := build/plugins
PLUGINS_FLAGS = $(if $(TENSORRT_INCLUDE_DIR),-DTENSORRT_INCLUDE_DIR=$(TENSORRT_INCLUDE_DIR)) \
	$(if $(CUDA_ARCHITECTURES),"-DCMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCHITECTURES)") \
	-DEDGEFSA_KERNELS_ONLY=$(if $(KERNELS_ONLY),ON,OFF)
plugins-all: PLUGINS_BUILD := build/plugins-all
plugins-all: PLUGINS_FLAGS += -DEDGEFSA_ALL_ARCHITECTURES=ON -DEDGEFSA_WARNINGS_AS_ERRORS=ON

plugins plugins-all:
	@cmake -S plugins -B $(PLUGINS_BUILD) $(PLUGINS_FLAGS)
	@bash -o pipefail -c 'cmake --build $(PLUGINS_BUILD) --parallel $(JOBS) 2>&1 | tee -a $(PLUGINS_BUILD)/build.log'
	@$(PYTHON) plugins/check_spills.py $(PLUGINS_BUILD)/build.log

# What benchmarks/on_gpu.sh takes to a machine with a GPU; TENSORRT_INCLUDE_DIR is the folder of NvInferRuntime.h.
gpu-files: $(VENV)/.setup-dev
	@TENSORRT_INCLUDE_DIR="$(TENSORRT_INCLUDE_DIR)" $(BIN)/python benchmarks/gpu_files.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
