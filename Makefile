# `make run` and `make test` are all that a fresh machine needs: Python 3.11-3.13, pip and make.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
SCENARIO ?= scenarios/four-agents.yaml
PIP = $(BIN)/python -m pip --disable-pip-version-check
# Only the versions and files of the lock; where they come from is for pip's own settings to say.
define install
	$(PIP) install --quiet --require-hashes --requirement requirements/$(1).txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
endef
NEWEST = .venv-newest
# The tests of a file stay together, as many share what takes long to make.
PYTEST = pytest --timeout 300 --durations 10 --dist loadfile
PARALLEL = $(PYTEST) --numprocesses auto -m 'not realtime and not slow'
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml requirements/build.in

.DEFAULT_GOAL := help
.PHONY: help run lock test test-slow test-newest check format bench test-vllm test-peers test-ray test-soak test-truth clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.core  ## Install, and run four simulated coding agents for two and a half minutes (SCENARIO=... for another)
	@$(BIN)/swarm run $(SCENARIO)

lock: $(VENV)/bin/python  ## Renew requirements/*.txt: the newest versions that pyproject.toml allows, with their hashes
	$(PIP) install --quiet uv
	$(COMPILE) --all-extras --output-file $(VENV)/all.txt
	$(COMPILE) --generate-hashes --constraint $(VENV)/all.txt --output-file requirements/run.txt
	$(COMPILE) --generate-hashes --constraint $(VENV)/all.txt --extra dev --output-file requirements/dev.txt

test: $(VENV)/.dev  ## Install what tests need, and run them: on all cores, and then those that measure in real time
	$(BIN)/$(PARALLEL) $(COVERAGE)
	$(BIN)/$(PYTEST) --numprocesses 2 -m 'realtime and not slow'

test-slow: $(VENV)/.dev  ## The tests that take long, which CI runs too
	$(BIN)/$(PYTEST) -m slow
	SWARM_TEST_FUZZ=5 $(BIN)/$(PYTEST) --numprocesses auto --dist load tests/analysis/test_any_log.py tests/analysis/test_damaged_files.py

test-newest: $(VENV)/.dev  ## The tests on the newest versions that pyproject.toml allows, if those are not the locked ones
	$(BIN)/python -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip --disable-pip-version-check install --quiet --upgrade --editable '.[dev]' \
		--requirement requirements/build.in
	@for each in $(VENV) $(NEWEST); do $$each/bin/python -m pip freeze --exclude-editable --exclude uv > $$each/versions; done
	@if diff $(VENV)/versions $(NEWEST)/versions; then echo 'The locked versions are the newest.'; else \
		$(NEWEST)/bin/$(PARALLEL) || { \
		echo 'The tests fail on the newest versions that pyproject.toml allows (>), which users get from pip: mend what fails,' \
		'or exclude the version there; then run `make lock`.'; exit 1; }; fi

check: $(VENV)/.dev  ## Lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure swarm beside limits and peers; results go to docs/
	$(BIN)/python -m bench

test-vllm: $(VENV)/.dev  ## Serve a MoE and a dense model with a real vLLM on the CPU (3 GB), and run against them
	tests/vllm/run.sh

test-peers: $(VENV)/.dev  ## Drive the simulated server with vllm bench serve, GuideLLM and AIPerf (4 GB, less after test-vllm)
	tests/peers/run.sh

test-ray: $(VENV)/.dev  ## Run on two real Ray nodes on this machine (250 MB; Linux, four minutes)
	tests/on_ray/run.sh

test-soak: $(VENV)/.dev  ## A million requests of one soak in virtual time: memory stays flat (half an hour)
	SWARM_TEST_SOAK=1 $(BIN)/pytest tests/soak/test_million.py

test-truth: $(VENV)/.dev  ## 10,000 generated replies and runs, each of a known truth (half an hour; SWARM_TEST_TRUTH=... for another number)
	SWARM_TEST_TRUTH=$${SWARM_TEST_TRUTH:-10000} $(BIN)/pytest --numprocesses auto --dist loadfile tests/truth

clean:  ## Remove what was installed and built
	rm -rf $(VENV) $(NEWEST) .vllm .peers .ray build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "swarm needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(call install,run)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(call install,dev)
	@touch $@ $(VENV)/.core
