# make demo | test | check | bench | format | clean
#
# PYTHON  the interpreter to use (3.11 or newer)
# VENV    where the environment goes
# ARGS    more arguments for the program that is run, for example make test ARGS="-k rollback"

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

run := $(VENV)/bin/python -m

.PHONY: help demo test check lint types layers bench format dev clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo:
	@scripts/make-venv "$(PYTHON)" "$(VENV)"
	$(run) bcpatch demo $(ARGS)

test:
	@scripts/make-venv "$(PYTHON)" "$(VENV)" test
	$(run) pytest -n auto --dist worksteal $(ARGS)

check: lint types layers

lint: dev
	$(run) ruff check .
	$(run) ruff format --check .

types: dev
	$(run) mypy
	$(run) mypy --config-file tests/mypy.ini

layers: dev
	$(VENV)/bin/lint-imports

bench:
	@scripts/make-venv "$(PYTHON)" "$(VENV)" test
	$(run) benchmarks run $(ARGS)

format: dev
	$(run) ruff check --fix .
	$(run) ruff format .

dev:
	@scripts/make-venv "$(PYTHON)" "$(VENV)" dev

clean:
	rm -rf "$(VENV)" .venvs build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
