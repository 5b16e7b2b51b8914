# Everything that a newcomer needs: `make demo`, `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLUGINS := $(sort $(wildcard plugins/cryoreg-*))
SOURCES := $(subst $() ,:,$(PLUGINS:%=%/src))

# Two test processes with one thread each keep two cores busy; torch's own threads would only get in the way.
# More processes need more memory (each holds torch), so four at most.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); [ $$cores -gt 4 ] && echo 4 || echo $$cores)
PYTEST := MAKEFLAGS= PYTHONPATH=$(SOURCES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast pytest lint format reference weights screenshots docs gpu clean

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY)  ## Create .venv and install cryoreg into it, editable.

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "cryoreg needs Python 3.11 or later, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1);" \
	         "try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'$(PYTHON)' lacks venv or ensurepip; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@

demo: $(READY)  ## Show what trained weights are worth with few labels, on the embedded data: minutes on two cores.
	$(BIN)/cryoreg demo

test: $(READY)  ## Run all checks and tests, the checks beside the first tests.
	@$(MAKE) --no-print-directory -j2 lint pytest

pytest: $(READY)
	$(PYTEST) tests $(PLUGINS:%=%/tests)

test-fast: lint  ## The same without the slow tests.
	$(PYTEST) -m "not slow" tests $(PLUGINS:%=%/tests)

lint: $(READY)  ## Run ruff, import-linter and mypy.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	MYPYPATH=cli:$(SOURCES) $(BIN)/mypy -p cryoreg -p cryoreg_cli $(PLUGINS:plugins/cryoreg-%=-p cryoreg_%)

format: $(READY)  ## Let ruff mend style and formatting.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

reference: $(READY)  ## Write the tables of the pages in docs from the specs.
	$(BIN)/python docs/generate.py

gpu: $(READY)  ## Tests, speed, simulator, weights and a cell of Table 1 on a GPU; JSON in benchmarks/results/gpu.
	PYTHON=$(BIN)/python benchmarks/gpu.sh

weights: $(READY)  ## Train the weights that cryoreg ships from nothing: hours on two cores; goes on where it was stopped.
	$(BIN)/python benchmarks/weights.py

screenshots: $(READY)  ## Make the pictures of docs anew from the embedded data: minutes; needs Chromium.
	$(BIN)/python docs/screenshots.py

docs: $(READY)  ## Build the documentation site, build/site/index.html, offline; a dead link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:  ## Remove .venv and caches.
	rm -rf $(VENV) build dist .pytest_cache .import_linter_cache .mypy_cache .ruff_cache
