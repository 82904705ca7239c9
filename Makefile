# make demo: see forgetting, and PEGP without it.  make test: run the quick tests.  make test-all: run all.
# Each sets up what it needs in .venv once; PYTHON chooses the interpreter.

PYTHON ?= python3
BIN := .venv/bin
# Threads that wait must not burn the cores that others need.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-all lint docs clean

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/python experiments/class_incremental.py --benchmark split_digits --pet lora --out runs/demo/digits
	$(BIN)/python experiments/class_incremental.py --benchmark split_glyphs --pet lora --epochs 2 --out runs/demo/glyphs

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not long"

test-all: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory site $(addprefix avl_pegp.,pet projection heads backbones benchmarks plugins evaluation)

clean:
	rm -rf .venv site

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
