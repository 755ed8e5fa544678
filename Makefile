# Every target creates the virtual environment in .venv that it needs, from pyproject.toml. No other set-up is necessary.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
PROCESSES ?= 3
CLUSTER_TESTS := $(wildcard tests/crash/test_postgres_*.py) tests/factstore/storage/postgres tests/factstore/transactor

.PHONY: demo console-demo test cluster-test fuzz datomic-test lint types contracts format docs site links bench guard hooks release-check clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: $(VENV)/.has-demo ## run the main job on real input, with options such as DEMO="--months 12"
	@$(BIN)/overseer demo $(DEMO)

console-demo: $(VENV)/.has-console $(VENV)/.has-cron ## open the console of a shop with a worker running and jobs of all kinds
	@$(BIN)/python -m examples.shop

# Tests wait for processes, servers and browsers half of their time, so there is one process more than two cores. A file is run by one
# process, which makes the fixtures of the file once; tests/conftest.py puts the long files first.
test: $(VENV)/.has-test ## run all tests, with options of pytest such as ARGS="-k upsert"; PROCESSES=3 is right for two cores
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

cluster-test: $(VENV)/.has-test ## run the long tests of many machines: ten failovers, partitions and 40 workers (as root), full disks, replicas, S3
	@FAILOVER_ROUNDS=10 CLUSTER_WORKERS=$${CLUSTER_WORKERS:-40} CLUSTER_JOBS=$${CLUSTER_JOBS:-10000} $(BIN)/python -m pytest $(CLUSTER_TESTS) $(ARGS)

fuzz: $(VENV)/.has-fuzz ## run random inputs for parsers, writers and servers: SECONDS=600 for all, or NAMES="edn-read csv"
	@$(BIN)/python -m tests.fuzz $(NAMES) --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

datomic-test: $(VENV)/.has-test ## compare with Datomic on N=1000 random cases from SEED=1; needs Java, and Maven the first time
	@$(BIN)/python -m tests.datomic --seed $(or $(SEED),1) --cases $(or $(N),1000)

lint: $(VENV)/.has-dev ## check style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/.has-dev ## fix style and format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(VENV)/.has-dev ## check types
	@$(BIN)/mypy --strict && $(BIN)/mypy --strict examples

contracts: $(VENV)/.has-test ## check that lower layers import nothing above them
	@$(BIN)/lint-imports

docs: $(VENV)/.has-test ## write the generated pages of docs/reference
	@$(BIN)/python docs/reference/generate.py

site: $(VENV)/.has-docs ## build the site of the documentation in build/site; open build/site/index.html
	@$(BIN)/python -m sphinx -b html -q -W --keep-going -E -d build/doctrees -c docs/site . build/site && echo build/site/index.html

links: $(VENV)/.has-docs ## check the links to other sites; needs the network
	@$(BIN)/python -m sphinx -b linkcheck -q -d build/doctrees -c docs/site . build/links

bench: $(VENV)/.has-test ## run the benchmarks
	@$(BIN)/python -m benchmarks.engine

guard: $(VENV)/.has-test ## check that nothing became slower, beside baselines in the same process; a minute
	@$(BIN)/python -m benchmarks.guard

hooks: $(VENV)/.has-dev ## run the checks of .pre-commit-config.yaml before every commit
	@$(BIN)/pre-commit install

release-check: $(VENV)/.has-dev ## build sdist and wheel, install the wheel in a new environment, run the README there
	@$(BIN)/python .ci/release_check.py

clean: ## remove the environment and the caches of the tools
	rm -rf $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

# One stamp per extra: pip runs again only when pyproject.toml has changed.
$(VENV)/.has-%: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) was not found; install CPython 3.11 or later, or give its path: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: needs CPython 3.11 or later, found $$($(PYTHON) --version 2>&1); give the path of another one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: this $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing factstore[$*] into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]' || { echo "make: pip could not install the dependencies in pyproject.toml (see above); is the package index reachable?" >&2; exit 1; }
	@touch $@
