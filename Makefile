# The verbs of zelo. `make` alone lists them.
PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
HALF := $(VENV)/.installing
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 $(BIN)/python -m pip install -qq -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long check format docs lock bench claims clean

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## build .venv with the locked versions, once (TORCH_INDEX=URL chooses the build of torch)

demo: $(STAMP) ## install, then run zelo with its defaults (ARGS="..." adds overrides)
	@$(BIN)/zelo $(ARGS)

test: $(STAMP) ## the quick tests
	@$(BIN)/pytest -m "not long" -n 2 --dist loadfile

test-long: $(STAMP) ## what takes longer: kills, a fresh wheel, a browser, two processes
	@$(BIN)/pytest -m long --durations=5

check: $(STAMP) ## format, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: $(STAMP) ## format, and fix what ruff can fix
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

docs: $(STAMP) ## build the pages of docs/ as a site, build/site; a broken link fails
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo build/site/index.html

lock: $(STAMP) ## renew constraints.txt, with versions that are at least a week old
	@$(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --group docs --universal --upgrade \
		--exclude-newer '7 days' --no-header --no-annotate -o constraints.txt

bench: $(STAMP) ## run every file in benchmarks/
	@for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python "$$file" || echo "$$file did not run to its end"; done

claims: $(STAMP) ## run the claims of the paper that two cores can run, and write docs/claims.md
	@$(BIN)/zelo -m 'experiment/claims=glob(*)' hydra.sweep.dir=multirun/claims
	@cp multirun/claims/claims.md docs/claims.md

clean: ## remove .venv, dist and caches; runs and stored tables stay
	@rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# The marker HALF says that an install did not come to its end: the next one then starts from an empty folder.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "zelo: $(PYTHON) was not found. Install Python 3.11 or newer, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "zelo: needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "zelo: $(PYTHON) lacks the venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV): once, some minutes, about 2 GB (more with CUDA)."
	@if test -e $(HALF) || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(HALF)
	@$(PIP) uv
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[demo,sweeps,wandb]' --group dev
	@rm $(HALF)
	@touch $@
