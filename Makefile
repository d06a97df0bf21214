PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test venv bench lint slow clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

demo: venv
	$(BIN)/biomarkers demo

test: venv
	$(PYTEST) --numprocesses 2 --dist loadfile -p no:benchmark -m "not slow and not benchmark_suite"

slow: venv
	$(PYTEST) -m slow --timeout 7200

bench: venv
	$(PYTEST) tests/benchmarks -m benchmark_suite --benchmark-only --benchmark-columns=min,median,max,rounds

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo-lab demo-lab.truth build dist *.egg-info
