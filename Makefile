# make install | train | test | lint | bench | gpu
VENV ?= .venv
# Interpreter that makes the environment
BASE_PYTHON ?= python3
PY = $(VENV)/bin/python
ARGS ?=

.PHONY: install train test lint bench gpu clean

$(VENV)/.installed: pyproject.toml setup.py CMakeLists.txt $(wildcard csrc/*)
	$(BASE_PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[cuda13,test]'
	touch $@

install: $(VENV)/.installed

train: install
	$(VENV)/bin/torchrun --standalone -m intact_fast.train $(ARGS)

test: install
	$(PY) -m pytest $(ARGS)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bench: install
	$(PY) -m pytest benchmarks/ --benchmark-only $(ARGS)

# In the environment of PYTHON where it is set (one that already has torch), else in $(VENV).
ifdef PYTHON
gpu:
	$(PYTHON) -m benchmarks.gpu $(ARGS)
else
gpu: install
	$(PY) -m benchmarks.gpu $(ARGS)
endif

clean:
	rm -rf $(VENV) build *.egg-info
