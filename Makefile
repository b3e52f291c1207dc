# Two commands for a fresh machine: `make demo` and `make test`. Both do all their own set-up.
PYTHON ?= python3
VENV   := .venv
# Windows' own make finds the programs of a virtual environment in Scripts/.
BIN    := $(if $(filter Windows_NT,$(OS)),$(VENV)/Scripts,$(VENV)/bin)

.PHONY: demo test coverage lint types codecs screenshots clean

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "localq needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml packaging/install_engine.py
	@echo "installing localq (the first time on a machine, its engine is compiled: five to ten minutes)"
	$(BIN)/python packaging/install_engine.py
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# Compiles the fast codecs again if their sources changed; without a compiler, nothing is lost.
codecs: $(VENV)/installed
	@$(BIN)/python -m localq.quantize.codecs.build || true

demo: export LOCALQ_HOME := $(CURDIR)/.demo
demo: $(VENV)/installed
	$(BIN)/localq pull demo
	$(BIN)/localq quantize q4_0 --force
	$(BIN)/localq run -p "Once upon a time" --max-tokens 120 --seed 7
	$(BIN)/localq path

test: lint types codecs
	$(BIN)/python -m pytest --numprocesses auto

# The same tests, and which lines they ran; that takes nearly twice as long.
coverage: $(VENV)/test-installed codecs
	$(BIN)/python -m pytest --numprocesses auto --cov --cov-report=term

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

types: $(VENV)/test-installed
	$(BIN)/mypy

# The README's pictures, made with the real app; with CHECK=1 they are made and nothing is written.
screenshots: $(VENV)/installed
	$(BIN)/python packaging/screenshots.py $(if $(CHECK),--check)

clean:
	rm -rf $(VENV) .demo dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
