# make demo [DATA=cells.h5ad] [LABEL= AGE= SAMPLE= MODEL=] [OUT=demo]   real cells that ship, then simulated ones, or the whole
#                               analysis on yours (with the names of your columns); figures, tables and cells in demo/
# make test                     the test suite, but for what is slow (in 4 minutes on two idle cores)
# make test-slow                the rest: pages, the demo, benchmarks, several processes; COVERAGE=yes measures either
# make test-unit                of make test only what needs no trained model (in a minute): while you write
# make test-lowest | test-pre   all tests with the lowest versions that pyproject.toml allows | with pre-releases
# make lint | docs | notebooks | wheel | clean

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
CONSTRAINTS ?= constraints.txt
WORKERS ?= 2
OUT ?= demo
DATA ?=
LABEL ?=
AGE ?=
SAMPLE ?=
MODEL ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint $(CONSTRAINTS)
UNIT := genes tokens stats network data clock annotation perturbation
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
RUN_TESTS := $(ONE_THREAD) $(BIN)/python -m pytest --numprocesses $(WORKERS) --durations 10

.PHONY: help demo test test-slow test-unit test-lowest test-pre lint docs notebooks wheel clean

help:
	@sed -n '1,7s/^# //p' Makefile

# An installation is done once and again when the requirements change. torch comes first and alone: where the package
# index offers a build for the processor only, its version is taken instead of one that brings a graphics stack.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "scflyformer needs Python 3.11 or newer; none was found. \
	Install one, or name it: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing scflyformer into $(VENV) with $$($(PYTHON) --version): about 2 GB, some minutes the first time."
	@"$(PYTHON)" -m venv $(VENV)
	@echo "1 of 2: torch"
	@$(PIP) torch
	@echo "2 of 2: scflyformer and what it needs"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools for tests and documentation into $(VENV)."
	@$(PIP) --editable '.[dev,doc]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py --out "$(OUT)" $(if $(DATA),--data "$(DATA)") $(if $(LABEL),--label-key "$(LABEL)") \
		$(if $(AGE),--age-key "$(AGE)") $(if $(SAMPLE),--sample-key "$(SAMPLE)") \
		$(if $(MODEL),--model "$(MODEL)")

test: $(VENV)/.installed-dev
	@$(RUN_TESTS) -m "not slow" $(if $(COVERAGE),--cov --cov-report term)

test-slow: $(VENV)/.installed-dev
	@$(RUN_TESTS) -m slow $(if $(COVERAGE),--cov --cov-append --cov-report term)

test-unit: $(VENV)/.installed-dev
	@$(RUN_TESTS) -m "not slow" $(UNIT:%=tests/%)

# An environment each, resolved by uv. Old releases warn of newer ones around them, so that warnings are errors only where
# they tell of the future.
test-lowest: RESOLVE := --resolution lowest-direct
test-lowest: PYTEST := -W default --disable-warnings
test-pre: RESOLVE := --prerelease allow --upgrade
test-lowest test-pre:
	@"$(PYTHON)" -m venv --clear $(VENV)-$@
	@$(VENV)-$@/bin/python -m pip --disable-pip-version-check install -qq uv
	@$(VENV)-$@/bin/uv pip install --quiet --python $(VENV)-$@/bin/python $(RESOLVE) --requirement pyproject.toml --extra test
	@$(VENV)-$@/bin/uv pip install --quiet --python $(VENV)-$@/bin/python --no-deps --editable .
	@$(VENV)-$@/bin/uv pip freeze --python $(VENV)-$@/bin/python --exclude-editable
	@$(ONE_THREAD) $(VENV)-$@/bin/python -m pytest --numprocesses $(WORKERS) $(PYTEST) $(TESTS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.installed-dev
	@$(BIN)/python -m sphinx -W -n --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

notebooks: $(VENV)/.installed-dev
	@$(BIN)/python notebooks/execute.py

wheel: $(VENV)/.installed-dev
	@rm -rf dist
	@$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	@ls dist

clean:
	rm -rf $(VENV) $(VENV)-test-* demo dist build docs/_build docs/generated docs/notebooks .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find src tests benchmarks tools examples -name __pycache__ -type d -prune -exec rm -rf {} +
