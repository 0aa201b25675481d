# make demo   installs medseg into .venv, trains three minutes on sample_data/, predicts two new scans, evaluates
# make test   installs it with the developers' tools and runs every check that CI runs
# make lowest runs the quick tests with the lowest version of each dependency that pyproject.toml allows
#
# Variables:  PYTHON    which interpreter makes the environment      make demo PYTHON=python3.12
#             VENV      where the environment lies                   make test VENV=/tmp/medseg-env
#             PIP_ARGS  passed on to pip install                     make demo PIP_ARGS="--extra-index-url ADDRESS" (say, of CPU-only wheels of torch)
#             LOWEST_ARGS  more for make lowest                      make lowest LOWEST_ARGS="--torch 2.13.0 tests/io"
#             BUDGET    how long the demo trains                     make demo BUDGET=10m
# Works with GNU make 3.81 (macOS) and a POSIX shell.

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; echo python3)
endif
VENV ?= .venv
PIP_ARGS ?=
BUDGET ?= 3m

BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
RECIPE := pyproject.toml constraints.txt

.PHONY: help demo test lowest python
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//; 1,/^Works/p' Makefile

demo: $(VENV)/.medseg-installed
	@echo
	@echo "== medseg demo: train ($(BUDGET)), predict two new scans, evaluate. Everything is written to demo/. =="
	@if [ -e demo ]; then echo "Removing demo/, which an earlier run left."; rm -rf demo; fi
	$(BIN)/medseg train sample_data -o demo/run --budget $(BUDGET)
	$(BIN)/medseg predict sample_data/imagesTs -m demo/run -o demo/predicted --preview
	$(BIN)/medseg evaluate demo/predicted sample_data/labelsTs -o demo/evaluation
	@echo
	@echo "Masks and pictures of what was found (open the .png files in any viewer):"
	@ls demo/predicted/*.nii.gz demo/predicted/*.png
	@echo "The report: demo/evaluation/report.html (open it in a browser); the figures: summary.json and metrics.csv beside it. The model: demo/run/model."

test: $(VENV)/.medseg-installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lowest: | python
	$(PYTHON) benchmarks/lowest_versions.py $(VENV)-lowest --pip-args "$(PIP_ARGS)" $(LOWEST_ARGS)

$(VENV)/.medseg-installed: $(RECIPE) | python
	@echo "== Set-up, once: an environment in $(VENV), and into it medseg with its dependencies. =="
	@$(SAY_DOWNLOAD)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.medseg-installed-dev: $(RECIPE) | python
	@echo "== Set-up, once: an environment in $(VENV), and into it medseg with the developers' tools. =="
	@$(SAY_DOWNLOAD)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.medseg-installed

# torch goes first and alone, so that the pinned one is taken before anything else may ask for another.
SAY_DOWNLOAD = \
	echo "   pip fetches about 300 MB (190 MB of it a CPU-only torch) in 2 to 5 minutes; they take 1.7 GB of disk."; \
	echo "   On Linux, torch from the default index comes with CUDA: about 3 GB. Without a GPU, stop here and say"; \
	echo "   make $(MAKECMDGOALS) PIP_ARGS=\"--extra-index-url ADDRESS\" with that of PyTorch's CPU-only wheels"

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "medseg needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo missing). This installs one:"; \
		if command -v brew >/dev/null; then echo "   brew install python@3.12 && make $(MAKECMDGOALS) PYTHON=python3.12"; \
		elif command -v dnf >/dev/null; then echo "   sudo dnf install python3.12 && make $(MAKECMDGOALS) PYTHON=python3.12"; \
		else echo "   sudo apt-get install python3.11 python3.11-venv && make $(MAKECMDGOALS) PYTHON=python3.11"; fi; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments (the modules venv and ensurepip are missing). This installs them:"; \
		if command -v brew >/dev/null; then echo "   brew install python@3.12 && make $(MAKECMDGOALS) PYTHON=python3.12"; \
		elif command -v dnf >/dev/null; then echo "   sudo dnf install python3-pip python3-libs"; \
		else echo "   sudo apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; fi; \
		exit 1; }
