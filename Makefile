# `make demo` and `make test` work as the first command on Linux or macOS with make and Python >= 3.11: the pinned
# versions in constraints.txt need 3.11; the package itself supports 3.10.
PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready

# Each worker runs whole test files, so that fixtures of a file are made once, the longest first (tests/conftest.py), so
# that none waits for another at the end. A worker has one thread of PyTorch, as the other worker has the other core;
# Numba's threads give up their core while they wait. Memory that is given back stays with the process: the kernel would
# have to clear it again for the next large tensor.
KEEP     := MALLOC_TRIM_THRESHOLD_=4294967295 MALLOC_MMAP_THRESHOLD_=4294967295 MALLOC_TOP_PAD_=268435456
PYTEST   := $(KEEP) OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
COVER    := --cov --cov-append --cov-report=

.PHONY: setup demo test coverage check bench microbench docs clean

setup: $(READY)

# Repeated only when what is installed would change. The models of the last line are for tests, apart from the rest:
# torchvision's wheel does not fit every build of torch.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/zoo timm torchvision
	touch $@

demo: $(READY)
	$(BIN)/hitl-fast demo

# All tests, compiled; those of the kernels again as plain Python, so that line coverage sees the CPU versions and
# Python checks every index; and again in Triton's interpreter, for the GPU versions. Then each microbenchmark once,
# without timing. Tracing lines takes half as long again as compiled tests do, and as long again as the interpreter, so
# only `make coverage` traces those passes.
test: $(READY)
	rm -f .coverage .coverage.*
	$(PYTEST) $(PARALLEL) $(TRACED)
	NUMBA_DISABLE_JIT=1 $(PYTEST) $(PARALLEL) -m 'not jit' tests/kernels $(COVER)
	$(BIN)/python -m coverage report --include='kernels/*' --omit='*/gpu.py' --fail-under=93
	TRITON_INTERPRET=1 $(PYTEST) $(PARALLEL) -m interpreter $(TRACED)
	$(PYTEST) $(PARALLEL) bench/microbench --benchmark-disable

coverage: $(READY)
	$(MAKE) test TRACED='$(COVER)'
	$(BIN)/python -m coverage report --fail-under=95

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# Interleaved comparison with other libraries. Nothing else may run on the machine meanwhile. Rows are appended to
# bench/results/.
bench: $(READY)
	$(BIN)/python -m pytest bench -q -s --timeout=0 -o python_files='bench_*.py' -o testpaths=bench

# Time per call of every core operation, grouped by operation. `ARGS=--benchmark-save=before` keeps a run,
# `ARGS=--benchmark-compare` compares with it.
microbench: $(READY)
	$(BIN)/python -m pytest bench/microbench -q --timeout=0 --benchmark-group-by=group --benchmark-sort=name $(ARGS)

# Warnings are errors. Open docs/_build/html/index.html.
docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	rm -rf hitl-fast-demo hitl-fast-experiment
	find hitl_fast kernels tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +
