# What people type here. `make` alone lists it; `make demo` and `make test` work as the first command in a fresh clone.
# PYTHON=python3.12 makes the environment with another Python, VENV=folder puts it elsewhere, LOCK=file takes other
# versions, BUDGET=smoke shortens `demo`.

PYTHON ?= python3
VENV ?= .venv
BUDGET ?=
LOCK ?= requirements.lock

HASHES := $(if $(filter requirements.lock,$(LOCK)),--require-hashes)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test slow lint check dashboard pipeline lock judges clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make the environment in .venv, as requirements.lock says (once; again when that changes)

$(INSTALLED): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Darkroom needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": type make PYTHON=python3.11, or another one.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q $(HASHES) -r $(LOCK)
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)  ## train a GAN on handwritten digits, and say where to look
	$(BIN)/darkroom train experiment=gan/digits $(if $(BUDGET),profile=$(BUDGET))

test: $(INSTALLED)  ## run the tests, without the slow ones, as many at once as there are cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

slow: $(INSTALLED)  ## run the slow tests: wheels, interrupted runs, several processes
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: $(INSTALLED)  ## compose and verify every file in conf/
	$(BIN)/darkroom check

dashboard: $(INSTALLED)  ## open the runs in the browser, families side by side: http://127.0.0.1:5000
	@$(BIN)/darkroom dashboard

pipeline: $(INSTALLED)  ## run the stages in dvc.yaml of which something changed
	PATH="$(abspath $(BIN)):$$PATH" dvc repro

lock:  ## write requirements.lock for what pyproject.toml asks for now; UPGRADE=1 takes the newest versions of everything
	$(PYTHON) -m venv --clear build/uv
	build/uv/bin/python -m pip install --disable-pip-version-check -q uv==0.13.9
	build/uv/bin/uv pip compile pyproject.toml --no-config --universal --all-extras --group dev --generate-hashes -q \
	  --no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	rm -rf build/uv

judges: $(INSTALLED)  ## make the shipped judges again with their certificates
	for data in digits shapes mnist; do $(BIN)/darkroom judge data=$$data output=mlruns/judges/$$data || exit; done

clean:  ## delete caches, and nothing else
	rm -rf .mypy_cache .ruff_cache .pytest_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
