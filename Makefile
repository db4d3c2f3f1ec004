# Everything that is done to this repository. `make` alone prints what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# ---- environment -------------------------------------------------------------------------------------------------

.venv/.made: scripts/make-venv.sh
	@scripts/make-venv.sh "$(PYTHON)"
	@touch $@

.venv/.runtime: .venv/.made requirements/runtime.txt pyproject.toml
	@echo "Installing the service into .venv"
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.develop: .venv/.runtime requirements/test.txt requirements/deploy.txt requirements/lint.txt
	@echo "Installing clients, test and deployment tools into .venv (a few minutes the first time)"
	@$(PIP) install --require-hashes -r requirements/test.txt -r requirements/deploy.txt -r requirements/lint.txt
	@touch $@

.PHONY: venv
venv: .venv/.develop  ## make .venv with the service, the clients, the test and deployment tools

.PHONY: help
help:  ## print this list
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | awk -F ':.*  ## ' '{printf "  make %-12s %s\n", $$1, $$2}'
