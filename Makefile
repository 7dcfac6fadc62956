# Everything a newcomer needs: Python 3.11 or later with venv, make, and a package index that pip can reach.
# `make demo` and `make test` set up .venv themselves, once; a change of pyproject.toml installs again.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# what to call: `make PYTHON=/path/to/python3.13 demo`; unset: the newest of these that can make a venv
PYTHON ?=
CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 python
# passed on: `make test ARGS="-k fold -x"`, `make bench ARGS="--reps 3"`
ARGS ?=

export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test lint types contracts docs bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## a dataflow on real data, killed in the middle, finished after a restart
	@$(BIN)/dataflows demo $(ARGS)

test: $(VENV)/.test ## the whole test suite, on all cores
	@$(BIN)/pytest -n auto $(ARGS)

lint: $(VENV)/.lint ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.lint $(VENV)/.test ## mypy --strict
	@$(BIN)/mypy

contracts: $(VENV)/.lint ## import-linter: who may import whom
	@$(BIN)/lint-imports

docs: $(VENV)/.docs ## build the documentation; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -n -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.bench ## measure against the raw limit and other engines (ten minutes)
	@$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) docs/_build dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------

# Runs pip quietly, with a dot a second so that a person sees that it lives. $(1): its arguments, $(2): what to say.
# The dots end with the recipe's shell, also when that is interrupted.
define install
	@printf '%s ' '$(2)'; \
	{ while sleep 1 && kill -0 $$$$ 2>/dev/null; do printf .; done; } & dots=$$!; \
	$(PIP) install -qq $(1) && status=0 || status=$$?; \
	kill $$dots 2>/dev/null || true; echo; exit $$status
endef

# Debian's python3 may come without venv, and an old `python3` may hide a newer one: ask each.
$(BIN)/python:
	@for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  "$$python" -m venv --clear $(VENV) && exit 0 || exit 1; \
	done; \
	echo "make: no Python 3.11 or later with venv among: $(if $(PYTHON),$(PYTHON),$(CANDIDATES))." >&2; \
	echo "      Install one (Debian, Ubuntu: apt-get install python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1

# `--group` came with pip 25.1
$(VENV)/.pip: $(BIN)/python
	$(call install,--upgrade 'pip>=25.1',Setting up .venv)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.pip
	$(call install,--editable '.[demo]',Installing dataflows-sdk)
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: pyproject.toml $(VENV)/.pip
	$(call install,--editable '.[demo]' --group $*,Installing dataflows-sdk and what `make $*` needs)
	@touch $@
