# `make help` lists the targets; each installs first where that is needed.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/installed

# The demo's, where you give nothing else.
VIDEOS     ?= demo/videos
STORE      ?= demo/store
BOUND      ?= $(if $(filter demo/videos,$(VIDEOS)),3,20)
DATASET    ?= csv
LISTS      ?= demo/annotations.csv
SPLIT      ?= $(if $(filter csv,$(DATASET)),column,1)
EXPERIMENT ?= demo
RUN        ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo flow train eval svm predict doctor bench bench-compare reproduce ablation test check lint sanitize clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make .venv and install the project with the tested versions

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard flow/tvl1/kernels/*)
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: eval ## The whole path on generated videos: flow, two streams, fusion, report
	@$(PYTHON) -m twostream.demo check demo

# Where the data is the demo's, each step first sees to the one before it.
flow: install $(if $(filter demo/videos,$(VIDEOS)),demo/annotations.csv) ## Extract optical flow: VIDEOS= STORE= BOUND= FLOW_ARGS=
	$(PYTHON) -m flow extract $(VIDEOS) $(STORE) --bound $(BOUND) $(FLOW_ARGS)

train: install $(if $(filter demo/store,$(STORE)),flow) ## Train both streams: EXPERIMENT= DATASET= LISTS= SPLIT= STORE= RUN= TRAIN_ARGS=
	$(PYTHON) -m twostream train $(EXPERIMENT) --dataset $(DATASET) --lists $(LISTS) --split $(SPLIT) --store $(STORE) --run $(RUN) $(TRAIN_ARGS)

eval: install $(if $(filter runs/demo,$(RUN)),train) ## Score, fuse and evaluate what was trained: RUN= SCORE_ARGS= FUSE_ARGS=
	$(PYTHON) -m twostream score $(RUN) $(SCORE_ARGS)
	$(PYTHON) -m twostream fuse $(RUN) $(FUSE_ARGS)
	$(PYTHON) -m twostream evaluate $(RUN) --report $(RUN)/report

svm: install ## The author's SVM protocol on features: STORE= WEIGHTS= LISTS= SPLIT= RUN= FEATURE_ARGS=
	$(PYTHON) -m twostream features $(STORE) $(RUN)/features --weights $(WEIGHTS) $(FEATURE_ARGS)
	$(PYTHON) -m twostream svm $(RUN)/features $(RUN)/svm --dataset $(DATASET) --lists $(LISTS) --split $(SPLIT)

predict: install ## Say what a video shows: VIDEO= RUN= PREDICT_ARGS=
	$(PYTHON) -m twostream predict $(VIDEO) --run $(RUN) $(PREDICT_ARGS)

doctor: install ## Look for what is wrong with a data set: VIDEOS= DOCTOR_ARGS=
	$(PYTHON) -m twostream doctor $(VIDEOS) $(DOCTOR_ARGS)

bench: install $(if $(filter demo/store,$(STORE)),flow) ## Measure all speeds, on a quiet machine: VIDEOS= STORE= OUT=
	$(PYTHON) benchmarks/bench.py $(VIDEOS) $(STORE) --out $(if $(OUT),$(OUT),runs/bench)

bench-compare: install ## What has changed between two results of bench: A= B=
	$(PYTHON) benchmarks/compare.py $(A) $(B)

reproduce: install ## Repeat a published table, or list them: TABLE= REPRODUCE_ARGS=
	$(PYTHON) benchmarks/reproduce.py $(TABLE) $(REPRODUCE_ARGS)

ablation: install ## Find out what matters, or list the studies: STUDY= VIDEOS= LISTS= SPLIT= ABLATION_ARGS=
	$(PYTHON) benchmarks/ablation.py $(STUDY) $(if $(STUDY),--videos $(VIDEOS) --lists $(LISTS) --split $(SPLIT)) $(ABLATION_ARGS)

demo/annotations.csv: | install
	$(PYTHON) -m twostream.demo make demo

test: install ## Run the tests
	$(PYTHON) -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: lint test ## What CI runs: lint, format, types, tests

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

sanitize: ## Run the native solver under the address and undefined-behaviour sanitizers
	cmake -S . -B build/sanitize -DTVL1_SANITIZE=ON
	cmake --build build/sanitize
	build/sanitize/tvl1_driver
	build/sanitize/tvl1_cuda_driver

clean: ## Remove the demo and all runs, but not .venv
	rm -rf demo runs
