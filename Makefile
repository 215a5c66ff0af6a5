# Two commands on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := .demo
# The address of an index of CPU-only wheels of torch; without it the usual index brings CUDA, several gigabytes.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Two states of .venv: what a user needs, and everything that the tests need. The second contains the first.
BASE := $(VENV)/.base
FULL := $(VENV)/.installed
ANY := $(or $(wildcard $(FULL)),$(BASE))

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-fast lint format bench clean

help:            ## Say what can be made
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

$(BASE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile --editable .
	@touch $@

install: $(FULL) ## Create .venv and install the project with everything its tests need, torch too
$(FULL): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	$(PIP) --editable '.[dev]'
	@touch $(BASE) $@

demo: $(ANY)     ## Index samples/ and ask three questions in three languages; installs no torch
	@BIN=$(BIN) DATA=$(DEMO) sh tools/demo.sh

serve: $(ANY)    ## Open the search page on what the demo indexed: http://127.0.0.1:8000
	$(BIN)/lusifer serve --data $(DEMO)

test: lint       ## Run the linters and all tests, offline
	$(BIN)/python -m pytest

# Importing torch alone takes longer than most tests: the fast lane leaves out the files that do.
WITH_TORCH = $(shell grep -rlE '^(import|from) (torch|mteb)' tests) tests/train tests/evaluate
test-fast: $(FULL) ## Run the tests that take seconds: all but the slow ones, and those of torch or a browser
	$(BIN)/python -m pytest -n 2 -m "not slow and not e2e" $(addprefix --ignore=,$(WITH_TORCH))

lint: $(FULL)    ## Check style, types and the imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(FULL)  ## Put the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(FULL)   ## Measure speed; results go to benchmarks/results (with DATA=… quality and embedding too)
	$(BIN)/python benchmarks/indexing.py
	$(BIN)/python benchmarks/store_latency.py
	$(BIN)/python benchmarks/search_latency.py
ifneq ($(DATA),)
	$(BIN)/python benchmarks/embedding_speed.py $(DATA)
	$(BIN)/lusifer evaluate retrieval $(DATA)/dev
	$(BIN)/python benchmarks/hybrid_quality.py $(DATA)/dev
	$(BIN)/python benchmarks/robustness.py $(DATA)/dev
endif

clean:           ## Remove the environment and the demo's index
	rm -rf $(VENV) $(DEMO)
