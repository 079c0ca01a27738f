# make demo   the environment, then triples from examples/
# make test   the same environment, then the tests
# make help   the other targets

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint format docs bench lock audit bundle

help:
	@echo 'make demo    extract triples from examples/'
	@echo 'make test    run the tests (AUTORE_DATA=FOLDER adds those on real data sets)'
	@echo 'make fuzz    the tests with odd input again, with 100 times as many examples: half an hour'
	@echo 'make lint    check style, types and the direction of imports'
	@echo 'make format  rewrite the code in the house style'
	@echo 'make docs    write the help of the commands to docs/commands.md'
	@echo 'make lock    write requirements.lock anew from pyproject.toml (UPGRADE=--upgrade: newer versions)'
	@echo 'make audit   look up whether the locked versions have known vulnerabilities'
	@echo 'make bench   measure documents a second on this CPU, against one prompt at a time'
	@echo 'make bundle  train the default bundle anew from the data sets in DATA=FOLDER'

# torch comes in a build for each platform, and is the only package without a hash. Another build than the index's own:
# make TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# The stamp says that the environment has what pyproject.toml and requirements.lock ask for.
STAMP := .venv/stamp
$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes --requirement requirements.lock
	$(PIP) $(TORCH)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/autore extract examples/*.txt

test: $(STAMP)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

fuzz: $(STAMP)
	AUTORE_FUZZ=100 $(BIN)/pytest tests/fuzz --hypothesis-show-statistics -o faulthandler_timeout=600

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

lock: $(STAMP)
	echo '$(firstword $(TORCH))' | $(BIN)/uv pip compile pyproject.toml --quiet $(UPGRADE) --extra dev --universal \
		--python-version 3.11 --constraint - --no-emit-package torch --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --output-file requirements.lock

# A package that can't be looked up fails it, as a network that isn't there does: silence would look like good news.
AUDIT := $(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --progress-spinner off
audit: $(STAMP)
	$(AUDIT) --require-hashes --requirement requirements.lock
	echo '$(firstword $(TORCH))' | $(AUDIT) --no-deps --requirement /dev/stdin

bench: $(STAMP)
	$(BIN)/python -m benchmarks.throughput

bundle: $(STAMP)
	@test -n '$(DATA)' || { echo 'make bundle DATA=FOLDER: the folder with the data sets'; exit 2; }
	$(PIP) --no-build-isolation --editable '.[recipes]'
	$(BIN)/python -m recipes '$(DATA)'
