# Two commands on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := .demo
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve test lint format bench clean

help:            ## Say what can be made
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(STAMP) ## Create .venv and install the project with everything its tests need
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)   ## Index samples/ and ask three questions in three languages
	@BIN=$(BIN) DATA=$(DEMO) sh tools/demo.sh

serve: $(STAMP)  ## Open the search page on what the demo indexed: http://127.0.0.1:8000
	$(BIN)/lusifer serve --data $(DEMO)

test: $(STAMP)   ## Run the linters' and the project's tests, offline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: $(STAMP)   ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Put the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure speed; results go to benchmarks/results (with DATA=… quality and embedding too)
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
