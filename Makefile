# Everything that is done to this repository. `make` alone prints what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check -qq
PYTEST := $(BIN)/python -m pytest
# A few processes, each with servers and databases of its own, and a file of tests in one of them. ARGS="-n 0" makes it one.
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile
# What `make run` takes: the port, the image (path or URL), and whether to stay in the background.
PORT ?= 9292
IMAGE ?=
BACKGROUND ?=
# What `make test` and the others hand to pytest, e.g. ARGS="-k upload -x".
ARGS ?=
# Servers and tools that tests start themselves, each on a port and data folder of its own.
TEST_PACKAGES := curl mariadb-client-core mariadb-server-core nginx-light qemu-block-extra qemu-system-x86 qemu-utils
HOST_PACKAGES := podman runc mmdebstrap openssh-client
# wrk measures; the others build uWSGI, under which real Glance runs.
BENCH_PACKAGES := gcc libc6-dev mariadb-client-core mariadb-server-core nginx-light python3-dev wrk
PIN := pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
# Where the recordings are that `make conformance` compares with.
FOLDER ?=
# Which scenarios `make molecule` runs.
SCENARIO ?=
# Where `make deploy` installs; ansible.cfg names the default.
INVENTORY ?=

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | awk -F ':.* ## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# ---- use it ----

.PHONY: run
run: .venv/.runtime ## start the service on 127.0.0.1:PORT, upload a bootable image (IMAGE=path-or-URL, BACKGROUND=1)
	@$(BIN)/python -u -m scripts.run run --port="$(strip $(PORT))" --image "$${IMAGE-}" $(if $(filter-out 0,$(BACKGROUND)),--background)

.PHONY: stop
stop: ## end the service that make run started
	@$(PYTHON) -m scripts.run stop

.PHONY: deploy
deploy: .venv/.develop ## install the service on this host, or on those of INVENTORY=path
	@PATH="$(CURDIR)/$(BIN):$$PATH" ansible-playbook $(if $(INVENTORY),-i "$(INVENTORY)") site.yml $(ARGS)

# ---- test it ----

.PHONY: test
test: .venv/.develop packages ## install what tests need, then lint and run every test
	@scripts/lint.sh
	@$(PYTEST) $(PARALLEL) $(ARGS)

.PHONY: unit
unit: .venv/.develop ## tests without server processes
	@$(PYTEST) tests/unit $(ARGS)

.PHONY: functional
functional: .venv/.develop packages ## tests against real server processes
	@$(PYTEST) tests/functional $(ARGS)

.PHONY: clients
clients: .venv/.develop packages ## tests with glance, openstack, openstacksdk, Ansible and curl
	@$(PYTEST) tests/clients $(ARGS)

.PHONY: conformance
conformance: .venv/.develop packages ## compare with recordings of real Glance, which are not part of this repository (FOLDER=path)
	@test -d "$(FOLDER)/v1" || { echo "make conformance FOLDER=path: the folder of the recordings" >&2; exit 2; }
	@$(BIN)/python -m tests.conformance.run "$(FOLDER)" $(ARGS)

.PHONY: bench
bench: .venv/.develop .venv-service/.made .venv-glance/.made ## measure it beside real Glance and print the ratios
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: molecule
molecule: .venv/.develop ## run the roles on real systemd hosts in podman (SCENARIO="default embedded"; all without)
	@scripts/apt-install.sh $(HOST_PACKAGES)
	@PATH="$(CURDIR)/$(BIN):$$PATH" molecule test $(if $(SCENARIO),$(addprefix --scenario-name=,$(SCENARIO)),--all) $(ARGS)

.PHONY: lint
lint: .venv/.develop ## ruff, mypy, yamllint, ansible-lint, shellcheck
	@scripts/lint.sh

# ---- keep it ----

.PHONY: venv
venv: .venv/.develop ## make .venv with the service, the clients, the test and deployment tools

.PHONY: packages
packages: ## install the Debian packages that tests need, as root or with sudo
	@scripts/apt-install.sh $(TEST_PACKAGES) || echo "Tests that need these are skipped; pytest names them at the end."

.PHONY: samples
samples: .venv/.runtime ## write the sample configuration files anew from the options
	@$(BIN)/python -m scripts.samples
	@$(BIN)/python -m scripts.options_table

.PHONY: pins
pins: .venv/.develop ## pin the newest versions of everything in requirements/
	@for list in runtime test deploy lint bench; do \
	  $(BIN)/$(PIN) --output-file requirements/$$list.txt requirements/$$list.in; \
	done

.PHONY: clean
clean: stop ## remove what make made, but for the environments and var/cache
	@[ ! -d var ] || find var -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .ansible

# ---- the environment: a stamp for each step, so that a second run is free ----

# One whose Python is gone, or another by now (the system was upgraded), or whose commands name another place (the clone was moved
# or copied), is made anew.
IN_PLACE := import os, sys, pip; \
  place = os.fsencode(os.path.realpath(sys.prefix)); assert place + b"/" in open(place + b"/bin/pip", "rb").read()
$(foreach made,$(wildcard .venv*/.made),$(shell $(dir $(made))bin/python -c '$(IN_PLACE)' 2>/dev/null || rm $(made)))

.venv/.made: scripts/make-venv.sh
	@scripts/make-venv.sh "$(PYTHON)"
	@touch $@

.venv/.runtime: .venv/.made requirements/runtime.txt pyproject.toml
	@echo "Installing the service into .venv"
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

.venv/.develop: .venv/.runtime requirements/test.txt requirements/deploy.txt requirements/lint.txt
	@echo "Installing clients, test and deployment tools into .venv (a few minutes the first time)"
	@$(PIP) install --require-hashes -r requirements/test.txt -r requirements/deploy.txt -r requirements/lint.txt
	@touch $@

# The service as the kit installs it. What tests need beside it would be measured too: PyMySQL loads cryptography when it is there.
.venv-service/.made: requirements/runtime.txt pyproject.toml
	@echo "Installing the service into .venv-service"
	@scripts/make-venv.sh "$(PYTHON)" .venv-service
	@.venv-service/bin/pip --disable-pip-version-check -qq install --require-hashes -r requirements/runtime.txt
	@.venv-service/bin/pip --disable-pip-version-check -qq install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

# Real Glance pins other versions of the same libraries, so it has an environment of its own.
.venv-glance/.made: requirements/bench.txt
	@scripts/apt-install.sh $(BENCH_PACKAGES)
	@echo "Installing real Glance into .venv-glance"
	@scripts/make-venv.sh "$(PYTHON)" .venv-glance
	@.venv-glance/bin/pip --disable-pip-version-check -qq install --require-hashes -r requirements/bench.txt
	@touch $@
