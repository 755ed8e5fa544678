# Every target does its own set-up: a virtual environment in .venv, with what pyproject.toml names. Nothing to do first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=

.PHONY: demo test lint types contracts format docs bench clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: $(VENV)/.has-demo ## run the main job on real input; DEMO="--months 12" and the like are passed on
	@$(BIN)/overseer demo $(DEMO)

test: $(VENV)/.has-test ## run all tests; ARGS="-k upsert" and the like are passed on
	@$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.has-dev ## check style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/.has-dev ## mend style and format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(VENV)/.has-dev ## check types
	@$(BIN)/mypy --strict

contracts: $(VENV)/.has-test ## check that lower layers import nothing above them
	@$(BIN)/lint-imports

docs: $(VENV)/.has-test ## make the generated pages of docs/reference again
	@$(BIN)/python docs/reference/generate.py

bench: $(VENV)/.has-test ## run the benchmarks
	@$(BIN)/python -m benchmarks.engine

clean: ## remove the environment and what the tools keep
	rm -rf $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

# One stamp per extra: pip runs again only when pyproject.toml has changed.
$(VENV)/.has-%: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) here; install CPython 3.11 or later, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: needs CPython 3.11 or later, found $$($(PYTHON) --version 2>&1); name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: this $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing factstore[$*] into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]' || { echo "make: pip could not install what pyproject.toml names (see above); is the package index reachable?" >&2; exit 1; }
	@touch $@
