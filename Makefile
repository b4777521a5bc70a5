# `make demo` and `make test` need python3 and make; .ci/setup.sh brings the rest into this checkout.
.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu check bench accuracy wheel lock clean setup-demo setup-dev setup-gpu

PYTHON := .venv/bin/python
# Test processes, each with a Spark of its own (about 3 GB).
WORKERS ?= 2
ARGS ?=

# The recipes use this checkout's Spark and Python, whatever the shell was set up for.
unexport SPARK_HOME SPARK_CONF_DIR SPARK_REMOTE HADOOP_CONF_DIR YARN_CONF_DIR
unexport PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON PYSPARK_DRIVER_PYTHON_OPTS PYSPARK_SUBMIT_ARGS PYTHONPATH PYTHONHOME

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

demo: setup-demo ## Forecast the daily flights of 2013: the whole pipeline on real data, into lake/
	$(PYTHON) -m jobs.demo

test: setup-dev ## Run the tests (ARGS="-k ets" for some of them)
	$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile $(strip $(ARGS))

test-gpu: setup-gpu ## Run the tests that need torch (downloads some gigabytes the first time)
	$(PYTHON) -m pytest -m torch $(strip $(ARGS))

check: setup-dev ## Check style, format and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: setup-dev ## Measure speed and accuracy beside the public libraries
	$(PYTHON) benchmarks/local_models.py $(ARGS)
	$(PYTHON) benchmarks/spark_job.py $(ARGS)

accuracy: setup-dev ## AutoML end to end on data sets, beside peers (ARGS="--data FOLDER --test")
	$(PYTHON) benchmarks/accuracy.py $(ARGS)

wheel: setup-demo ## Build the wheel for a cluster into dist/
	@rm -rf build
	$(PYTHON) -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: ## Write requirements/*.lock anew (needs uv)
	bash .ci/lock.sh $(ARGS)

clean: ## Remove what builds and tools left; .venv and lake stay
	rm -rf build dist *.egg-info spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

setup-demo:
	@bash .ci/setup.sh demo

setup-dev:
	@bash .ci/setup.sh dev

setup-gpu:
	@bash .ci/setup.sh gpu
