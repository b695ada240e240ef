# `make demo` and `make test` work as the first command on a machine with Python 3.10+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: setup demo test check bench clean

setup: $(READY)

# Made anew only when what is installed would change.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/hitl-fast demo

# Three passes, one meaning: compiled; as plain Python, where line coverage can see inside the CPU kernels; and the
# Triton kernels through Triton's interpreter, which adds what the GPU twins cover.
test: $(READY)
	$(BIN)/python -m pytest -q
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -m 'not jit' --cov --cov-report=
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -m interpreter --cov --cov-append --cov-report=term --cov-fail-under=95

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# Nothing else may run on the machine meanwhile. Rows are appended to bench/results/.
bench: $(READY)
	$(BIN)/python -m pytest bench -q -s --timeout=0 -o python_files='bench_*.py' -o testpaths=bench

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage hitl-fast-demo hitl-fast-experiment
	find hitl_fast kernels tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
