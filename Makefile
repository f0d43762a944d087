# Every target does its own set-up: Python >= 3.11 and make are all it takes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
CODE   := raysearch tests examples $(wildcard analysis)

# Material for MkDocs would tell of its successor at every build.
export NO_MKDOCS_2_WARNING := 1

# Without their bytecode, each of the many processes of the tests compiles raysearch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev demo test test-fast coverage soak check audit lock docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## set up .venv with raysearch and the pinned versions of what it needs
install-dev: $(VENV)/.installed-dev ## the same, with the tools for tests and checks

demo: $(VENV)/.installed ## make a small synthetic data set and search on it (CPU, a minute or two)
	test -d demo/data || { rm -rf demo/data.part && $(BIN)/raysearch data demo demo/data.part \
	  --machine valve --machine fan --machine pump --train-clips 16 --test-clips 12 --seconds 3 \
	  && mv demo/data.part demo/data; }
	$(BIN)/raysearch run --machine valve --data demo/data --out demo/runs --space search_spaces/demo.yaml

test: test-fast ## run all tests, the fast ones first
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m slow

test-fast: $(VENV)/.installed-dev ## run the fast tests only
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

# Lines that run in processes of their own, such as Ray's workers, do not count.
coverage: $(VENV)/.installed-dev ## run the fast tests under coverage; fewer than 90 % of lines fail
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow" \
	  --cov=raysearch --cov-report=term-missing:skip-covered --cov-fail-under=90

soak: $(VENV)/.installed-dev ## break 100 tiny searches at random moments; takes up to an hour on 2 cores
	$(BIN)/python -m tests.faults.soak --faults 100

check: $(VENV)/.installed-dev ## check format, lint, types, architecture and documentation
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy --num-workers auto
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml raysearch
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_prose.py
	$(BIN)/mkdocs build --strict --quiet

# No part of `check`, which works without a network: the service of known holes is on PyPI. A
# library that it does not know, as behind a mirror without the service, counts as a failure.
audit: $(VENV)/.installed-dev ## look for known security holes in the pinned libraries (network)
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt || { \
	  echo "A library has a known hole, or the service of PyPI cannot be reached: see above." >&2; \
	  exit 1; }

lock: $(BIN)/python ## write the hashes of what nodes of a cluster install (network)
	$(BIN)/python analysis/lock.py

docs: $(VENV)/.installed-dev ## build the documentation into build/docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "open build/docs/index.html"

format: $(VENV)/.installed-dev ## format the code and sort its imports
	$(BIN)/ruff check --select I --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove .venv, the demo, caches and build outputs
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .coverage .coverage.*
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "raysearch needs Python 3.11 or newer; name one, as in: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The interpreter is order-only: its file is older or newer than a stamp for no reason of ours.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing raysearch into $(VENV); the first time takes a few minutes."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing raysearch and its development tools into $(VENV)."
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.installed $@
