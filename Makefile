# Everything runs in a virtual environment of its own, made at first use.
PYTHON ?= python3
VENV ?= .venv
ifneq ($(words $(VENV)),1)
$(error VENV must be a path without spaces, which make cannot handle, got '$(VENV)')
endif
BIN := $(VENV)/bin
# One thread a process: the tests run in two processes, and PySCF slows down when threads outnumber free cores.
export OMP_NUM_THREADS ?= 1
# Linter, types, documentation and shapes beside each other.
MAKEFLAGS += --jobs=2

.PHONY: demo test test-slow lint types docs shapes format clean

demo: $(VENV)/.installed
	mkdir -p demo
	$(BIN)/cgdft validate --html demo/report.html
	@echo "Pictures: demo/report.html"

test: lint types docs shapes
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.tested
	$(BIN)/pytest -m slow

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tested
	$(BIN)/mypy

# The shapes in annotations, but where a message of our own is better. Not in all tests: they would take twice as long.
ANNOTATED := cgdft.ansatz,cgdft.density,cgdft.derivatives,cgdft.electrostatics,cgdft.functionals,cgdft.parameter,cgdft.problems,cgdft.solution,cgdft.solver,cgdft.solvers,cgdft.terms
shapes: $(VENV)/.tested
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" --jaxtyping-packages=$(ANNOTATED),beartype.beartype $(addprefix tests/,test_duality.py test_terms.py)

docs: $(VENV)/.tested
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

format: $(VENV)/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch alone and first, so that nothing else brings a build for GPUs.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
