PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed

.PHONY: help demo test test-fast lint docs format cov bench

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' Makefile | expand -t 20

demo: $(INSTALLED) ## install, then the main job: four arms on the embedded corpus, and their table (about eight minutes)
	$(VENV)/bin/python -m tut.train +sweeps=demo

test: $(INSTALLED) ## install, then the whole test suite (about a quarter of an hour on two cores)
	$(VENV)/bin/python -m pytest

test-fast: $(INSTALLED) ## what of it starts no process and is quick (under two minutes on two cores)
	$(VENV)/bin/python -m pytest --fast -n 2

lint: $(INSTALLED) ## style, types, and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(INSTALLED) ## the documentation as pages, in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --quiet

format: $(INSTALLED) ## put the code into the one style, and mend what can be mended so
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

cov: $(INSTALLED) ## the test suite, and which lines it does not reach
	$(VENV)/bin/python -m pytest --cov --cov-report=term-missing:skip-covered

bench: $(INSTALLED) ## what TUT costs on this machine, as benchmarks/measured.md (half an hour at most)
	$(VENV)/bin/python -m benchmarks

# The pip that comes with a Python may be years old, and take three times as long to see what goes with what. It would
# compile on one processor only, and other people's tests, too; what fails to compile are templates.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(VENV)/bin/pip install --quiet --no-compile --constraint constraints.txt --editable .[dev]
	$(VENV)/bin/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib || true
	touch $@
