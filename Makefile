# make install | train | test | lint | pages | docs | bench | chaos | gpu | sanitize
VENV ?= .venv
# Interpreter that makes the environment
BASE_PYTHON ?= python3
PY = $(VENV)/bin/python
ARGS ?=

.PHONY: install train test lint pages docs bench chaos gpu sanitize clean

$(VENV)/.installed: pyproject.toml setup.py CMakeLists.txt $(wildcard csrc/*)
	$(BASE_PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[cuda13,test]'
	touch $@

install: $(VENV)/.installed

# Recipes that are trained after the run and stand beside it in the last table; `make train COMPARE=` leaves them out
COMPARE ?= mse+id light+query-critic

train: install
	$(VENV)/bin/torchrun --standalone -m intact_fast.train $(if $(COMPARE),--compare $(COMPARE)) $(ARGS)

# Two processes of one thread each, which take a half of the tests each, so that a file's fixtures are mostly made once,
# and then what the other has left; processes that tests start have one thread, too. `ARGS="-n 0 …"` tests in this process,
# for a debugger. A test that hangs fails with every thread's stack; the slowest take half a minute.
test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1
test: install
	$(PY) -m pytest -n 2 --dist worksteal --timeout=300 $(ARGS)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Tables and figures of README, docs/ and benchmarks/records/README.md, from the records and the options
pages: install
	$(PY) -m docs.generate $(ARGS)

$(VENV)/.docs: $(VENV)/.installed
	$(PY) -m pip install --quiet --group docs
	touch $@

# build/docs/index.html; DOCS_REPOSITORY is the address that links to source files begin with
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(PY) -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

bench: install
	$(PY) -m pytest benchmarks/ --benchmark-only $(ARGS)

# Faults put to the test: kills, full disks, hostile files (some 15 minutes on 2 cores; docs/reliability.md)
chaos: export OMP_NUM_THREADS = 1
chaos: install
	$(PY) -m benchmarks.chaos $(ARGS)

# The stages correctness, ladder and operators, or ARGS="--stage NAME"; `python -m benchmarks.gpu --help` names all.
# In the environment of PYTHON where it is set (one that already has torch), else in $(VENV).
ifdef PYTHON
gpu:
	$(PYTHON) -m benchmarks.gpu $(ARGS)
else
gpu: install
	$(PY) -m benchmarks.gpu $(ARGS)
endif

# The engine's tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of its own. Python
# itself is not built with them, so that what it never frees would hide our leaks: leaks are not looked for.
sanitize: install
	rm -rf build/sanitize && mkdir -p build/sanitize
	cp -r intact_fast tests pyproject.toml setup.py CMakeLists.txt csrc build/sanitize
	cd build/sanitize && rm -f intact_fast/*.so && $(abspath $(PY)) -m pip install --quiet pybind11 cmake ninja && \
	  PATH="$(abspath $(VENV)/bin):$$PATH" CMAKE_ARGS=-DINTACT_SANITIZE=ON $(abspath $(PY)) setup.py --quiet build_ext --inplace && \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	  $(abspath $(PY)) -m pytest $(or $(ARGS),tests/evaluation/test_raw_module.py tests/evaluation/test_engine.py \
	  tests/evaluation/test_reranking.py tests/evaluation/test_ranking.py)

clean:
	rm -rf $(VENV) build *.egg-info
