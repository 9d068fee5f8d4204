# Every developer task. `make help` lists them; each one prints the time that it took.

SHELL := bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The tests start hundreds of processes; without byte code each of them would compile the whole project again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
READY := .venv/.ready
TORCH ?= $(shell grep '^torch==' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Twice quiet: errors are shown, warnings of an index are not.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# The files that name a mark: to import all the others and leave them out takes as long as some of these tests.
marked = $$(grep -rlE --include='test_*.py' 'mark\.$(1)\b' tests | sort)
TIME = TIMEFORMAT=$$'\n[$(@:$(READY)=setup): %1lR]'; time

.PHONY: help setup demo rehearse-all test test-unit test-training test-launch test-browser test-slurm drill slurm-up slurm-down lint types format bench picture screenshots build constraints clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## install the pinned versions and the test tools into .venv

# The one set-up, for the demo and the tests alike. After the build backend, torch comes first and alone: its CPU build, from
# the configured package index or else from PyTorch's own; then nothing that follows can bring another. The stamp is written
# last, so a set-up that was interrupted is done again.
$(READY): pyproject.toml constraints.txt
	@$(TIME) {
	if [ ! -x $(BIN)/pip ]; then
	  for python in $(PYTHON) python3.11 python3; do
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi
	  done
	  if [ -z "$${found:-}" ]; then
	    echo "RewardSweep needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || true)."
	    echo "Install it (for example: apt install python3.11 python3.11-venv), or name it: make setup PYTHON=/path/to/python3.11"
	    exit 1
	  fi
	  echo "Creating .venv with $$("$$found" --version)"
	  "$$found" -m venv .venv || { rm -rf .venv; exit 1; }
	fi
	$(PIP) -c constraints.txt setuptools
	echo "Installing $(TORCH)"
	if ! $(PIP) --no-deps '$(TORCH)' 2>.venv/torch.log; then
	  echo "  not in the configured package index; taking it from $(TORCH_INDEX)"
	  $(PIP) --no-deps --index-url $(TORCH_INDEX) '$(TORCH)' || { cat .venv/torch.log; exit 1; }
	fi
	echo "Installing everything else, as pinned in constraints.txt"
	$(PIP) -c constraints.txt --no-build-isolation -e '.[dev,postgres,video]'
	cuda=$$($(BIN)/python -c 'import torch; print(torch.version.cuda)')
	if [ "$$cuda" != None ]; then
	  echo "torch in .venv is a CUDA $$cuda build, but this set-up is for the CPU build ($(TORCH))."
	  echo "Remove .venv and run make again; for a GPU machine see README.md, \"Installing\"."
	  exit 1
	fi
	touch $@
	}

demo: $(READY) ## rehearse the paper's head ablation on this machine and print its table
	@$(TIME) $(BIN)/sweep launch head_ablation.yaml --rehearse

rehearse-all: $(READY) ## rehearse every shipped definition, one after the other
	@$(TIME) for file in sweeps/*.yaml; do echo "== $$file"; $(BIN)/sweep launch "$$file" --rehearse; done

test: test-unit test-training test-launch test-browser test-slurm ## run all tests

test-unit: $(READY) ## the fast tests, two processes
	@$(TIME) $(BIN)/pytest -q -n 2 -m 'not training and not launch and not browser'

test-training: $(READY) ## the tests that train tiny models, a file in each of two processes
	@$(TIME) $(BIN)/pytest -q -n 2 --dist loadfile -m 'training and not launch and not browser' $(call marked,training)

test-launch: $(READY) ## the tests that run whole sweeps, a file in each of two processes
	@$(TIME) $(BIN)/pytest -q -n 2 --dist loadfile -m 'launch and not slurm and not browser' $(call marked,launch)

test-browser: $(READY) ## the tests that open the dashboard in Debian's chromium (without it they are skipped; in CI that is a failure)
	@$(TIME) $(BIN)/pytest -q -m browser $(call marked,browser)

test-slurm: $(READY) ## the tests on a real SLURM and the drill, a cluster in each of two processes (root, Debian's SLURM, MariaDB, munge; else skipped)
	@$(TIME) $(BIN)/pytest -q -n 2 --dist loadgroup -m slurm $(call marked,slurm)

drill: $(READY) ## of these, forty trials through everything that a cluster does on a bad night (minutes)
	@$(TIME) $(BIN)/pytest -q -m drill $(call marked,drill)

slurm-up: $(READY) ## start a SLURM of four virtual nodes on this machine, in runs/slurm
	@$(BIN)/python tests/slurm_cluster/cluster.py up runs/slurm

slurm-down: $(READY) ## end it and remove its folder
	@$(BIN)/python tests/slurm_cluster/cluster.py down runs/slurm

lint: $(READY) ## ruff: rules and format
	@$(TIME) { $(BIN)/ruff check; $(BIN)/ruff format --check; }

types: $(READY) ## mypy --strict
	@$(TIME) $(BIN)/mypy

format: $(READY) ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix || true
	$(BIN)/ruff format

bench: $(READY) ## run every measurement in bench/
	@$(TIME) for file in bench/[a-z]*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

screenshots: $(READY) ## make docs/pictures of the dashboard from a rehearsal (needs Debian's chromium)
	@$(TIME) $(BIN)/python docs/make_screenshots.py

picture: $(READY) ## draw docs/pictures from a rehearsal of the head ablation
	@$(TIME) $(BIN)/python docs/make_picture.py

build: $(READY) ## build the wheel into dist/ and check what is in it
	@$(TIME) {
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist > .venv/build.log 2>&1 || { cat .venv/build.log; exit 1; }
	rm -rf build
	if $(BIN)/python -m zipfile -l dist/*.whl | grep -E '^(tests|bench|docs)/'; then echo "these do not belong in the wheel"; exit 1; fi
	ls dist
	}

constraints: ## renew constraints.txt from the newest releases (TORCH=torch==X.Y.Z+cpu moves torch)
	@$(TIME) {
	fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT
	python3.11 -m venv "$$fresh"; pip="$$fresh/bin/python -m pip --disable-pip-version-check"
	$$pip install -q --no-deps '$(TORCH)' || $$pip install -q --no-deps --index-url $(TORCH_INDEX) '$(TORCH)'
	echo '$(TORCH)' > "$$fresh/torch.txt"
	$$pip install -q -c "$$fresh/torch.txt" '.[dev,postgres,video]'
	{ sed -n '/^#/p' constraints.txt; $$pip list --format=freeze --exclude pip --exclude rewardsweep | LC_ALL=C sort -f; } > "$$fresh/new.txt"
	mv "$$fresh/new.txt" constraints.txt
	}

clean: ## remove caches and build products (.venv and runs stay)
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
