# `make` prints what there is. Nothing has to be configured; README.md says what each port and server is set by.

PYTHON := .venv/bin/python

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Instant when the environment is current.
.PHONY: environment
environment:
	@tools/bootstrap

# Simple commands, which make runs without a shell between: a SIGTERM to make then reaches the program itself.
.PHONY: up
up: environment ## bring the whole system up in the foreground, with demo data; Ctrl-C stops it
	@$(PYTHON) -m amrutam.stack.up

.PHONY: demo
demo: environment ## one patient's journey, narrated; starts the system when it does not run
	@$(PYTHON) -m amrutam.demo

.PHONY: test
test: environment ## the whole suite, in some processes at once, each against servers that it starts itself
	@tools/browser
	@$(PYTHON) -m amrutam.stack.prepare
	@$(PYTHON) -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

.PHONY: chaos
chaos: environment ## the storm on screen: kills part after part while patients book, then verifies
	@$(PYTHON) -m amrutam.stack.prepare
	@$(PYTHON) -m tests.chaos.storm

.PHONY: check
check: environment ## style, types, import rules, migration lint, known vulnerabilities
	@tools/check

.PHONY: bench
bench: environment ## every figure beside its limit, on systems of its own; QUICK=1: a short look; ONLY=directory: 1,000 to 100,000 doctors, ONLY=system: all but those; BOOKINGS=50000: memory under so many; OUT=file
	@$(PYTHON) -m amrutam.stack.prepare
	@$(PYTHON) -m bench $(OUT)

.PHONY: lock
lock: environment ## pin what pyproject.toml names into requirements.lock
	@.venv/bin/uv pip compile --universal --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile -q --universal --generate-hashes --no-header --constraint requirements.lock pyproject.toml -o requirements-production.lock

.PHONY: clean
clean: ## stop what was left running, delete data and environment
	@if test -x $(PYTHON); then $(PYTHON) -m amrutam.stack.clean; fi
	@rm -rf .data .venv
