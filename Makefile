# One word per chore. Each works on a machine with python3 (with venv) and make alone: it makes
# .venv from constraints.txt, where every package is fixed by version and hash.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
COVERAGE_MIN := 95
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench storm peers constraints clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/  make \1	/p' $(MAKEFILE_LIST)

demo: $(STAMP)  ## sign, push, verify, tamper and copy, with no server
	@PATH="$(abspath $(BIN)):$$PATH" sh docs/demo.sh

test: peers $(STAMP)  ## all tests; as root on Debian it installs the peers they talk to
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -n $(WORKERS) -rsfE --cov --cov-report=
	$(BIN)/python -m coverage report --include='trust/*' --skip-covered --show-missing --fail-under=$(COVERAGE_MIN)

lint: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: peers $(STAMP)  ## side by side with skopeo and others, into docs/benchmarks.md (BENCH=--large: 5 GB, too)
	$(BIN)/python -m bench.run $(BENCH)

storm: peers $(STAMP)  ## 8 processes that push to one repository at once, into docs/many-writers.md
	$(BIN)/python -m bench.storm

peers:
	@$(PYTHON) tests/peers/programs.py --install

# The project is built without isolation, by the hatchling of constraints.txt.
$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes --requirement constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

constraints:  ## choose all versions anew
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet uv
	build/constraints/bin/uv pip compile pyproject.toml --group dev --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make constraints' \
	    --quiet --output-file constraints.txt
	@! grep -n '://' constraints.txt

clean:  ## remove what these targets made
	rm -rf $(VENV) build dist .coverage* .hypothesis .mypy_cache .ruff_cache .import_linter_cache tests/peers/tuf-js/node_modules
