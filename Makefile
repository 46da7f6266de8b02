# `make demo` and `make test` do all their own set-up, in .venv; both can be run again at any time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two torch threads on two cores; more processes than cores are many times slower.
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test test-slow lint docs clean

help:
	@echo "make demo       recognise the expressions in two photographs with the bundled weights"
	@echo "make test       run the tests (under five minutes on two cores)"
	@echo "make test-slow  run the slow tests"
	@echo "make lint       ruff, mypy --strict, import floors"
	@echo "make docs       the documentation as a site, in build/site"
	@echo "make clean      remove the environment and everything made"

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

$(VENV)/.made:
	@echo "Creating the environment in $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "apvit needs Python 3.11 or newer, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing apvit with what the demo needs ..."
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing apvit with everything its tests need (minutes, once) ..."
	@$(INSTALL) '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests benchmarks examples docs/site notebooks
	$(BIN)/ruff format --check src tests benchmarks examples docs/site notebooks
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/mkdocs build --strict
	@echo "open build/site/index.html"

clean:
	rm -rf $(VENV) build dist demo src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
