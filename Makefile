# Two commands: `make demo` sees it work, `make test` proves it. `make help` lists the rest.
#
#   make demo TORCH=torch          with a CUDA build of torch instead of the pinned CPU one
#   make test PYTHON=python3.12    with another Python

PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

# What the compiled modules are made from; a change in them means a new build.
NATIVE := setup.py pyproject.toml advrec/native/sources.py $(wildcard csrc/*.* csrc/*/*.*)

.PHONY: help demo test drill lint format bench native-test sanitize cuda-check gpu-test gpu-bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/ready-demo ## train, attack and compare on the data set that comes with advrec
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/demo.sh

test: $(VENV)/ready-dev ## everything that can be checked without a GPU
	@$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

drill: $(VENV)/ready-dev ## long fault and fuzz loops, not part of test (ARGS="--count N --seed S NAME …")
	@$(BIN)/python scripts/drill.py $(ARGS)

lint: $(VENV)/ready-dev ## style, types and import rules
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@mkdir -p build/mypy && ln -sfn ../../cli build/mypy/advrec_cli && $(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*' 'tests/*' | grep -E '\.(cpp|cu|cuh|h|inl)$$')

format: $(VENV)/ready-dev ## bring everything into the house style
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@$(BIN)/clang-format -i $$(git ls-files 'csrc/*' 'tests/*' | grep -E '\.(cpp|cu|cuh|h|inl)$$')

bench: $(VENV)/ready-bench ## measure against the field; writes bench/RESULTS.md (ARGS="--help")
	@$(BIN)/python -m bench $(ARGS)

native-test: ## the C++ core and its tests, without Python and torch
	@cmake -S . -B build/native -DCMAKE_BUILD_TYPE=Release && cmake --build build/native -j2
	@ctest --test-dir build/native --output-on-failure

sanitize: ## the C++ tests under address, undefined-behaviour and thread sanitizers
	@for s in address,undefined thread; do \
	  cmake -S . -B build/$$s -DADVREC_SANITIZE=$$s >/dev/null && cmake --build build/$$s -j2 && \
	  ctest --test-dir build/$$s --output-on-failure || exit 1; done

cuda-check: ## compile, link and load the CUDA extension against a CUDA build of torch (several GB)
	@sh tests/cuda_check.sh

gpu-test: $(VENV)/ready-dev ## every op and model on the GPU against the CPU
	@$(BIN)/python -m pytest -m gpu

gpu-bench: $(VENV)/ready-dev ## times and bandwidths on this machine's GPU; writes bench/GPU.md
	@$(BIN)/python -m bench.gpu

clean: ## remove what was built (not the runs)
	@rm -rf build dist *.egg-info $(VENV) advrec/*.so

$(VENV)/ready-base:
	@command -v $(PYTHON) >/dev/null || { echo "error: found no $(PYTHON); hint: install Python 3.10 or newer, or make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10; hint: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; hint: apt install python3-venv" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "error: found no C++ compiler; hint: apt install g++, or xcode-select --install" >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").exists())' || { echo "error: Python's headers are missing; hint: apt install python3-dev" >&2; exit 1; }
	@echo "setting up $(VENV) with $(TORCH) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install "$(TORCH)" "setuptools>=70" wheel "pybind11>=2.13" ninja numpy
	@touch $@

$(VENV)/ready-demo: $(VENV)/ready-base $(NATIVE)
	@$(PIP) install --no-build-isolation -e '.[plot]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready-base $(NATIVE)
	@$(PIP) install --no-build-isolation -e '.[dev]'
	@touch $@ $(VENV)/ready-demo

$(VENV)/ready-bench: $(VENV)/ready-dev
	@$(PIP) install --no-build-isolation -e '.[bench]'
	@$(PIP) install --no-deps recbole==1.2.1
	@touch $@
