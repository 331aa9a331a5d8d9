# The targets a contributor needs. Everything runs in .venv, which is made when it is missing or out of date.
#   make demo         train on the bundled silicon data, compare with DFT, write demo/report.html
#   make demo-short   the same in half a minute, for CI
#   make melt         10,000 silicon atoms for 10 ps with the potential of the demo: demo/melt.png, demo/melt.gif
#   make test         all tests that need no GPU         make test-fast   without the slow ones
#   make lint         style, types, layering, sizes      make format      repair the style
#   make docs         regenerate docs/config.md   make readme      put the last demo into README.md
#   make studies-small   the small form of every study of the papers, in a few minutes
#   make bench        short forms of all benchmarks, in some minutes; data in BENCH_DATA (../shared/data)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
CPU_INDEX := https://download.pytorch.org/whl/cpu
BENCH_DATA ?= ../shared/data
SOURCES := src tests tools docs examples benchmarks

.PHONY: demo demo-short melt studies-small test test-fast lint format docs readme bench clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   /  /p' Makefile

# torch first, from wheels without CUDA: a computer without a GPU should not download gigabytes for one.
$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "forgefield needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || \
	  $(PIP) --extra-index-url $(CPU_INDEX) "torch==$(TORCH)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.base
	$(BIN)/python examples/demo/demo.py

demo-short: $(VENV)/.base
	DEMO_SHORT=1 $(BIN)/python examples/demo/demo.py

# Further options: make melt MELT="--engine lammps --processes 2"
melt: $(VENV)/.base
	@test -f demo/potential.ff || $(BIN)/python examples/demo/demo.py
	$(BIN)/forgefield md demo/potential.ff examples/demo/diamond.xyz --repeat 11 11 11 -T 2500 -n 10000 \
	  --log-interval 100 --log demo/melt.csv --picture demo/melt.png --movie demo/melt.gif $(MELT)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu"

test-fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py
	$(BIN)/python docs/generate_config.py --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

docs: $(VENV)/.dev
	$(BIN)/python docs/generate_config.py

readme: demo/summary.md
	$(BIN)/python tools/update_readme.py

studies-small: $(VENV)/.dev
	@for name in $$($(BIN)/forgefield study list --names); do \
	  OMP_NUM_THREADS=1 $(BIN)/forgefield study $$name --small -o build/studies/$$name || exit 1; done

bench: $(VENV)/.dev
	@test -d $(BENCH_DATA)/nep || \
	  { echo "no published potential files in $(BENCH_DATA)/nep; say where they are: make bench BENCH_DATA=FOLDER" >&2; exit 1; }
	@for name in training_step build_time; do $(BIN)/python benchmarks/$$name.py --short || exit 1; done
	@for name in nep_inference nep_list nep_species threads million_atoms; do \
	  $(BIN)/python benchmarks/$$name.py $(BENCH_DATA) --short || exit 1; done
	@if $(BIN)/python -c 'import torchnep' 2>/dev/null; then \
	  $(BIN)/python benchmarks/epoch_torchnep.py $(BENCH_DATA) --short; \
	else echo "without the comparison with TorchNEP: it is not installed (pip install torchnep==1.0.7)"; fi

clean:
	rm -rf demo run build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
