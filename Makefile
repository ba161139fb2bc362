# Two commands for people: `make quickstart` and `make test`. Each does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
# Programs share the cores here; see finetune_trainer/launch/main.py.
export OMP_WAIT_POLICY := PASSIVE
SEED ?= $(shell date +%Y%m%d)

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements/dev.txt requirements/bootstrap.txt pyproject.toml
	@echo "==> Python packages into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/bootstrap.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## Install the Python packages into .venv

.PHONY: cluster
cluster: $(VENV)/.installed ## Bring up the dev cluster with the project's images
	$(PYTHON) -m devcluster up
	$(PYTHON) -m devcluster images

.PHONY: quickstart
quickstart: cluster ## Fine-tune the example on a real Kubernetes, from nothing
	$(BIN)/python examples/quickstart/quickstart.py

.PHONY: generate
generate: $(VENV)/.installed ## Write the files that are made from the types
	$(BIN)/python -m finetune_api.crd crds charts/finetune-operator/files
	$(BIN)/python -m finetune_api.reference docs

.PHONY: pin
pin: $(VENV)/.installed ## Compile requirements/ from pyproject.toml
	$(BIN)/uv pip compile -q --no-emit-index-url --no-header --no-annotate --python-version 3.11 \
	    --extra dev pyproject.toml -o requirements/dev.txt
	for extra in operator trainer cli; do \
	    $(BIN)/uv pip compile -q --no-emit-index-url --no-header --no-annotate --python-version 3.11 \
	        --extra $$extra -c requirements/dev.txt pyproject.toml -o requirements/$$extra.txt; \
	done

.PHONY: format
format: $(VENV)/.installed ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: check
check: $(VENV)/.installed ## Static checks, under two minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

.PHONY: test-unit
test-unit: $(VENV)/.installed ## Unit tests
	$(PYTEST) -n 2 --dist loadfile tests/unit tests/devcluster

.PHONY: test-apiserver
test-apiserver: $(VENV)/.installed ## Tests against a real API server and etcd
	$(PYTEST) tests/apiserver --long=sample --seed=$(SEED)

.PHONY: test-cluster
test-cluster: cluster ## Tests on the dev cluster: real pods, real S3, real training
	$(PYTEST) tests/cluster --timeout=600 --long=sample --seed=$(SEED)

.PHONY: test
test: check test-unit test-apiserver test-cluster ## Everything but the long tables, of which a seeded sample

.PHONY: test-full
test-full: check test-unit cluster ## Everything, the long tables too
	$(PYTEST) tests/apiserver --long=all --seed=$(SEED)
	$(PYTEST) tests/cluster --timeout=600 --long=all --seed=$(SEED)

.PHONY: clean
clean: ## End the dev cluster and remove what was built here
	-$(PYTHON) -m devcluster down
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
