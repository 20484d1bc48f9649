# `make help` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
# More than cores: some tests wait for boards, emulators and time-outs.
JOBS ?= 3
# Hundreds of processes read the same sources, so that their bytecode is kept, also where the environment forbids it.
unexport PYTHONDONTWRITEBYTECODE
MINUTES ?= 10
BATCH ?= 0
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test check lint test-qemu random-layers records fuzz fuzz-damage test-sanitized test-compilers bench docs pictures system clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

demo: $(VENV)/.run ## compile the bundled model, run it on an emulated Cortex-M7, print a report
	@$(BIN)/python -m tvm_tiny.demo.demo

test: $(VENV)/.dev ## all tests
	$(PYTEST)

check: lint ## the fast part: linters, types, layers, tests that are not slow
	$(PYTEST) -m "not slow"

lint: $(VENV)/.dev ## ruff, mypy, import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test-qemu: $(VENV)/.dev ## the tests on emulated boards
	$(PYTEST) -m qemu

random-layers: $(VENV)/.dev ## 200 random layers of every operator on M4 and M55: exact, and no kernel slower than the general one
	TVM_TINY_RANDOM_LAYERS=200 $(PYTEST) tests/qemu/test_every_shape.py

# Everything that the tests run in a process of the host, in the tests' own process: so that is where gcc's run-time
# library has to be from the start. What a sanitizer says comes past pytest's capture, which does not survive it.
test-sanitized: $(VENV)/.dev ## the native tests under AddressSanitizer and UndefinedBehaviorSanitizer
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" \
	    ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 TVM_TINY_SANITIZE=1 \
	    $(PYTEST) --capture=sys -m "not qemu" tests/c tests/models

test-compilers: $(VENV)/.dev ## all models by gcc and clang at all levels, on emulated boards
	TVM_TINY_COMPILERS=all $(PYTEST) tests/qemu/test_compilers.py

records: $(VENV)/.run ## tune the zoo for all emulated cores, write schedules/records/
	$(BIN)/python -m tvm_tiny.tune.ship

fuzz: $(VENV)/.dev ## random models under random options, MINUTES=10 of them, from BATCH=0 on; findings in build/fuzz
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --batch $(BATCH)

fuzz-damage: $(VENV)/.dev ## damaged files for everything that reads files, MINUTES=10 of them; findings in build/fuzz-damage
	$(BIN)/python -m tests.fuzz.damage --minutes $(MINUTES) --first $(BATCH)

bench: $(VENV)/.run ## run all models on emulated cores, write docs/benchmarks.md
	$(BIN)/python -m tvm_tiny.bench

docs: $(VENV)/.dev ## generate docs/supported_ops.md and docs/passes.md, build the site in build/site; a broken link ends it
	$(BIN)/python -m tvm_tiny.frontend.supported_ops > docs/supported_ops.md
	$(BIN)/python -m tests.passes_page > docs/passes.md
	$(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml

pictures: $(VENV)/.dev ## draw docs/pictures again, by the commands of docs/how_it_works.md
	$(BIN)/python -m tests.documentation

system: ## install missing system packages (Debian)
	@PYTHON=$(PYTHON) .ci/system-packages

clean: ## remove .venv and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python: | system
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	    { echo "error: $(PYTHON) is $$($(PYTHON) -V); tvm-tiny needs Python 3.10 to 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are younger than pyproject.toml when what it asks for is installed.
$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.run $@
