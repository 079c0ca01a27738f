# make demo   the environment, then triples from examples/
# make test   the same environment, then the tests
# make help   the other targets

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bundle

help:
	@echo 'make demo    extract triples from examples/'
	@echo 'make test    run the tests (AUTORE_DATA=FOLDER adds those on real data sets)'
	@echo 'make lint    check style, types and the direction of imports'
	@echo 'make format  rewrite the code in the house style'
	@echo 'make docs    write the help of the commands to docs/commands.md'
	@echo 'make bundle  train the default bundle anew from the data sets in DATA=FOLDER'

# The stamp says that the environment has what pyproject.toml and constraints.txt ask for.
STAMP := .venv/stamp
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/autore extract examples/*.txt

test: $(STAMP)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP)
	$(BIN)/python docs/commands.py

bundle: $(STAMP)
	@test -n '$(DATA)' || { echo 'make bundle DATA=FOLDER: the folder with the data sets'; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[recipes]'
	$(BIN)/python -m recipes '$(DATA)'
