# make demo, make test: all that is needed is Python 3.11 to 3.13, make and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo rehearsal test test-cluster lint lock clean

demo: .venv/installed
	$(BIN)/python sweeps/lr_decay.py

# Every sweep, table and figure once, in trainings of a few epochs. Killed and typed again, it goes on.
# Two seeds are 590 distinct stages (970 if no sweep shared any), 16 minutes of one processor: 8 minutes on two cores, and
# as many for two sets of recordings, 24 tables and the report.
REHEARSAL ?= $(HOME)/.stars/rehearsal
rehearsal: .venv/installed
	$(BIN)/python -m sweeps all --recipe rehearsal --seeds 2 --trainer tune --store $(REHEARSAL)
	$(BIN)/python -m analysis reproduce $(REHEARSAL) --recipe rehearsal --out $(REHEARSAL)/reproduction.md
	$(BIN)/python -m analysis report $(REHEARSAL) --out $(REHEARSAL)/report.html

test: lint
	$(BIN)/python -m pytest -m "not cluster"

test-cluster: .venv/installed
	$(BIN)/python -m pytest -m cluster

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# What make installs, from the ranges in pyproject.toml; run it with a fresh virtual environment active.
lock:
	python -m pip install --quiet --editable '.[dev]'
	python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
