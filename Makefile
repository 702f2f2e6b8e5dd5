# Two commands on a machine that has Python 3.11, git and make:
#   make run    sets up .venv and runs the main job
#   make test   sets up .venv and runs the tests
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test test-slow check bench scores format constraints system clean help

help:
	@echo "make run | test | test-slow | check | bench | scores | format | system | clean"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps dp-accounting auto_LiRPA appdirs
	touch $(READY)

# The main job: the MLP on real digits, plain and private, weighed on all four challenges.
run: $(READY)
	$(BIN)/steelyard run experiment=first_look

test: $(READY)
	$(BIN)/pytest -q -n 2

# The long proofs.
test-slow: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,oracles,quantus,mlflow,wandb,ray,deepspeed]'
	$(BIN)/pytest -q -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(READY)
	for file in benchmarks/[a-z]*.py; do echo "== $$file"; OMP_NUM_THREADS=1 $(BIN)/python $$file || exit 1; done

# Trains every preset of the README's table and writes it: an hour. One row: .venv/bin/python benchmarks/scores --only NAME
scores: $(READY)
	$(BIN)/python benchmarks/scores

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Debian packages that some tests use and skip without: a browser for the report, a speech synthesiser, Fashion-MNIST.
system:
	-command -v chromium >/dev/null && command -v espeak-ng >/dev/null && test -d /usr/share/datasets/fashion-mnist || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium espeak-ng dataset-fashion-mnist; } >/dev/null 2>&1

# Writes constraints.txt from a clean environment; read the diff.
constraints:
	rm -rf .venv && $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0 && $(BIN)/pip install --quiet -e '.[dev,oracles,quantus,mlflow,wandb,ray,deepspeed]'
	$(BIN)/pip install --quiet --no-deps dp-accounting auto_LiRPA==0.3 appdirs
	grep '^#' constraints.txt > constraints.new
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' >> constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv .pytest_cache .ruff_cache
