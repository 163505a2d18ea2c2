# `make help` lists the targets; each installs first where that is needed.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
STAMP   := $(VENV)/installed

# The demo's data unless you give your own.
VIDEOS  ?= demo/videos
STORE   ?= demo/store
BOUND   ?= $(if $(filter demo/videos,$(VIDEOS)),4,20)
LISTS   ?= demo/annotations.csv
DATASET ?= csv
SPLIT   ?= column
RUN     ?= runs/demo
EXPERIMENT ?= demo
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help install demo flow train eval test check lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv and install the project with the tested versions

$(STAMP): pyproject.toml constraints.txt
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## The whole path on generated videos: flow, two streams, fusion, report
	@$(MAKE) --no-print-directory demo/annotations.csv
	@$(MAKE) --no-print-directory flow
	$(PYTHON) -m twostream.demo check demo
	@$(MAKE) --no-print-directory eval

demo/annotations.csv: | install
	$(PYTHON) -m twostream.demo make demo

flow: install $(if $(filter demo/videos,$(VIDEOS)),demo/annotations.csv) ## Extract optical flow: VIDEOS= STORE= (the demo's where not given)
	$(PYTHON) -m flow extract $(VIDEOS) $(STORE) --bound $(BOUND) $(ARGS)

train: install ## Train both streams: EXPERIMENT= DATASET= LISTS= SPLIT= STORE= RUN=
	$(PYTHON) -m twostream train $(EXPERIMENT) --dataset $(DATASET) --lists $(LISTS) --split $(SPLIT) --store $(STORE) --run $(RUN) $(ARGS)

eval: install ## Score, fuse and evaluate RUN= on LISTS= (trains the demo first where not given)
	$(PYTHON) -m twostream score $(RUN)
	$(PYTHON) -m twostream fuse $(RUN)/rgb/scores.npz $(RUN)/flow/scores.npz --out $(RUN)/fused.npz
	$(PYTHON) -m twostream evaluate $(RUN)/rgb/scores.npz $(RUN)/flow/scores.npz $(RUN)/fused.npz --dataset $(DATASET) --lists $(LISTS) --report $(RUN)/report

test: install ## Run the tests
	$(PYTHON) -m pytest

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: lint test ## What CI runs: lint, format, types, tests

clean: ## Remove the demo, its runs and caches (not .venv)
	rm -rf demo runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
