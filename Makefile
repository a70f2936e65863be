# Musubi: `make demo` shows it, `make test` checks it, `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
NEWEST := .venv-newest
STAY ?= 1
TOWN ?= towns/momijidai
WORKERS ?= 4
unexport VIRTUAL_ENV
# Each process start would compile everything that it imports anew: seconds, hundreds of times in the tests.
unexport PYTHONDONTWRITEBYTECODE
# Many offices' networks have a certificate authority of their own: the machine's certificates count, not uv's own list.
export UV_SYSTEM_CERTS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-long coverage check fix hooks transcript bench test-newest lint lock clean

help: ## list what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml requirements.lock
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Musubi needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(VENV)/ready ## run a whole town on this machine and tell its story (STAY=0 ends it, TOWN=path chooses it)
	@$(BIN)/musubi demo --town $(TOWN) --stay $(STAY)

serve: $(VENV)/ready ## run a whole town and keep it up (Ctrl-C stops it)
	@$(BIN)/musubi up $(TOWN)

lint: $(VENV)/ready ## formatting, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

COVERAGE := --cov --cov-report=term:skip-covered --cov-report=
PARALLEL := -n $(WORKERS) --dist worksteal

test: lint ## what every change must pass: lint, types, contracts, all tests on SQLite and PostgreSQL but the long ones
	@$(BIN)/pytest $(PARALLEL) -m "not long"

test-long: lint ## everything, the long tests too, every test with far more examples, and coverage; ONLY=path for some
	@rm -f .coverage .coverage.*
	@MUSUBI_TESTS=long $(BIN)/pytest $(PARALLEL) $(COVERAGE) $(ONLY)

coverage: $(VENV)/ready ## what no test reaches; ONLY=path for some tests
	@rm -f .coverage .coverage.*
	@$(BIN)/pytest $(PARALLEL) -m "not long" $(COVERAGE) $(ONLY)

check: lint ## the fast loop: lint and the quick tests
	@$(BIN)/pytest -n $(WORKERS) -q -m "not slow and not long"

test-newest: $(VENV)/ready ## the quick tests on the newest dependencies that pyproject.toml allows
	@test -x $(NEWEST)/bin/python || $(BIN)/python -m venv $(NEWEST)
	@$(BIN)/uv pip install --quiet --compile-bytecode --upgrade --python $(NEWEST)/bin/python --group dev -e .
	@echo "Other than in requirements.lock:"
	@comm -13 <(grep -oE '^[a-z0-9-]+==[^ ;]+' requirements.lock | LC_ALL=C sort) \
	  <($(BIN)/uv pip freeze --quiet --exclude-editable --python $(NEWEST)/bin/python | LC_ALL=C sort)
	@$(NEWEST)/bin/python -m pytest -n $(WORKERS) -q -m "not slow and not long" $(ONLY)

fix: $(VENV)/ready ## format, and mend what the linter can mend by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

transcript: $(VENV)/ready ## write anew what every HTTP route answers, for the diff to show
	@MUSUBI_WRITE_TRANSCRIPT=1 $(BIN)/pytest -q tests/service/transcript
	@git diff --stat -- tests/service/transcript

hooks: $(VENV)/ready ## from now on git checks formatting, lint, types and contracts before each commit
	@git config core.hooksPath .githooks

bench: $(VENV)/ready ## measure, and write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks $(ONLY)

lock: ## resolve requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --group dev pyproject.toml -o requirements.lock

clean: ## remove what was set up
	rm -rf $(VENV) $(NEWEST) .pytest_cache .mypy_cache .ruff_cache .coverage* .hypothesis
