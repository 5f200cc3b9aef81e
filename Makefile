# Long-running recipes replace their shell (exec): Ctrl-C reaches Python, and make waits for it.

PYTHON ?= python3
UV_VERSION := 0.13.9

BIN := .venv/bin
INSTALLED := .venv/.installed
CLIENTS := .venv-clients
CLIENTS_INSTALLED := $(CLIENTS)/.installed
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock'
# What the image has beside TensorFlow: whoever runs it cannot add to it.
IMAGE_EXTRAS := --extra redis --extra postgres --extra translation

# What uv and Keras would keep in the home directory stays in this folder.
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export KERAS_HOME := $(CURDIR)/.cache/keras
# Only TensorFlow's errors, not its remarks about the processor.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Some environments set it; each process would then compile TensorFlow anew, for twice its start's time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install clients demo test check packages bench metrics dashboards pictures lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the command, the server and the test tools

clients: $(CLIENTS_INSTALLED) ## create .venv-clients with the clients that the tests use

demo: install ## train a digit classifier, serve it and send it traffic until Ctrl-C
	@exec $(BIN)/python -m demo

test: install clients packages check ## run every check and test
	@exec $(BIN)/python -m pytest tests/unit tests/gpu -n auto
	@exec $(BIN)/python -m pytest tests/live -m "not alone" -n auto --dist loadfile --no-loadscope-reorder
	@exec $(BIN)/python -m pytest tests/live -m alone

check: install ## lint, types, import contracts, and whether METRICS.md is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m exporter.catalogue --check
	$(BIN)/python -m grafana --check
	$(BIN)/yamllint --strict .

# Each Debian package has its command's name; gcc comes without the C library's headers, and PostgreSQL's commands
# are not on PATH. A package's service must not start: policy-rc.d says so.
packages: ## install haproxy, nginx, prometheus, wrk, gcc, redis, postgresql where they are missing (as root, on Debian or Ubuntu)
	@missing=; \
	for name in haproxy nginx prometheus prometheus-alertmanager wrk gcc redis-server; do command -v $$name >/dev/null || missing="$$missing $$name"; done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	case "$$missing" in *gcc*) missing="$$missing libc6-dev";; esac; \
	if [ -z "$$missing" ]; then \
		exit 0; \
	elif [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Missing:$$missing. Tests that need them, and benchmarks,"; \
		echo "which need wrk, are skipped; to run them, first run as root: apt-get install$$missing"; \
		exit 0; \
	fi; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
		trap "rm -f $$policy" EXIT; \
		printf '#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy; \
	fi; \
	apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

bench: install packages ## measure the ratios of BENCHMARKS.md
	@exec $(BIN)/python -m bench

metrics: install ## write METRICS.md from the metric catalogue
	$(BIN)/python -m exporter.catalogue

dashboards: install ## write grafana/dashboards and grafana/rules from their definitions
	$(BIN)/python -m grafana

# Ten minutes of a real run; needs prometheus, npm and Chromium.
pictures: install ## draw the dashboards of a run of the demo, for the README
	$(BIN)/python -m grafana.pictures.record
	cd grafana/pictures && npm ci --silent && npm run --silent pictures

# Keeps the versions a lock file has; delete the file first to raise them.
lock: $(BIN)/uv ## write requirements/*.txt from pyproject.toml
	$(COMPILE) pyproject.toml --output-file requirements/base.txt
	$(COMPILE) pyproject.toml --extra serve --extra web --output-file requirements/serve.txt
	$(COMPILE) pyproject.toml --extra serve-cpu --extra web $(IMAGE_EXTRAS) --output-file requirements/serve-cpu.txt
	$(COMPILE) pyproject.toml --extra serve-gpu --extra web $(IMAGE_EXTRAS) --output-file requirements/serve-gpu.txt
	$(COMPILE) pyproject.toml --extra serve-cpu --extra dev --output-file requirements/dev.txt
	$(COMPILE) --group clients --output-file requirements/clients.txt
	$(COMPILE) --group build --output-file requirements/build.txt

clean: ## delete everything that make made
	rm -rf .venv $(CLIENTS) .cache .demo .hypothesis .import_linter_cache .mypy_cache grafana/pictures/node_modules
	rm -rf .pytest_cache .ruff_cache
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.11, 3.12 or 3.13 is needed as $(PYTHON); another one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; run as root: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION)

# Wheels only, so no compiler is needed. The build tool comes from the lock too: no build isolation.
$(INSTALLED): pyproject.toml requirements/dev.txt | $(BIN)/uv
	@echo "Installing what requirements/dev.txt pins (TensorFlow among it: a few hundred megabytes)"
	@$(BIN)/uv pip install --python $(BIN)/python --only-binary :all: --compile-bytecode \
		--require-hashes --requirement requirements/dev.txt
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Apart from .venv, whose libraries the clients would hold back.
$(CLIENTS_INSTALLED): requirements/clients.txt | $(BIN)/uv
	@echo "Installing what requirements/clients.txt pins"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CLIENTS)
	@$(BIN)/uv pip install --python $(CLIENTS)/bin/python --only-binary :all: --compile-bytecode \
		--require-hashes --requirement requirements/clients.txt
	@touch $@
