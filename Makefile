# Everything that is done with this project, by name; `make` alone lists it. Each target sets up .venv by itself and
# installs nothing anywhere else. PYTHON names the Python that .venv is made from; ARGS is passed on.

python := .venv/bin/python
run_ready := .venv/.ready-to-run
develop_ready := .venv/.ready-to-develop
bench_ready := .venv/.ready-to-bench
document_ready := .venv/.ready-to-document
fuzz_ready := .venv/.ready-to-fuzz
pip_install := $(python) -m pip install --quiet --disable-pip-version-check --editable

# The tests that answer for the core, and so have to reach every branch of it.
core_tests := tests/unit/raft tests/paper tests/scenarios tests/properties
# Most tests wait: for elections, disks and processes.
side_by_side := --numprocesses 2 --dist loadgroup
define measured_core_tests
	$(python) -m coverage erase
	$(python) -m coverage run -m pytest --quiet $(side_by_side) $(core_tests)
	$(python) -m coverage combine --quiet
	$(python) -m coverage report
endef

export PYTHON

# The runs of `make sim`, the seed of the first of them, and how many run side by side, on a core each. A run is a
# cluster under faults for 60 virtual seconds.
sim_seeds ?= 300
sim_first_seed ?= 1
sim_workers ?= 2

# How long `make fuzz` takes, all targets together.
fuzz_seconds ?= 600

.PHONY: help start cluster test faults fuzz fuzz-corpus cover sim sim-mutants bench bench-quick soak check docs fix proto
.PHONY: lock screenshots clean
.DELETE_ON_ERROR:

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

start: $(run_ready) ## a node on this machine, with its data in ./data; ARGS="-i 2 ..."
	@exec .venv/bin/meteora start $(ARGS)

cluster: $(run_ready) ## three nodes on this machine, with their data in .cluster; Ctrl-C stops them all
	@exec $(python) tools/cluster.py

test: $(develop_ready) ## the tests, but for the long ones of make faults; ARGS="tests/unit -k log"
ifeq ($(strip $(ARGS)),)
	$(measured_core_tests)
	$(python) -m pytest $(side_by_side) $(core_tests:%=--ignore=%)
else
	$(python) -m pytest $(ARGS)
endif

faults: $(develop_ready) ## real nodes whose cables are cut, whose disks fill up or lose bits, and that fall far behind
	$(python) -m pytest -m faults $(ARGS)

fuzz: $(fuzz_ready) ## hostile input, found by coverage, for 10 minutes; fuzz_seconds=N, ARGS="hpack raft-core"
	$(python) -m tests.fuzz.run --seconds $(fuzz_seconds) $(ARGS)

fuzz-corpus: $(fuzz_ready) ## takes what make fuzz has found, and reaches code that the corpus doesn't, into the corpus
	$(python) -m tests.fuzz.run --merge $(ARGS)

cover: $(develop_ready) ## the tests of the core; fails unless they reach every branch of it
	$(measured_core_tests)

sim: $(develop_ready) ## 300 simulated clusters under faults; sim_seeds=N sim_first_seed=N, ARGS="--seconds 300"
	$(python) -m meteora.testing --first-seed $(sim_first_seed) --seeds $(sim_seeds) --workers $(sim_workers) $(ARGS)

sim-mutants: $(develop_ready) ## the simulation against classic mistakes: each must be found
	$(python) -m tests.simulation.mutants

bench: $(bench_ready) ## all of it, beside etcd, redis and PySyncObj: more than an hour; ARGS="throughput" for a part
	@bench/install.sh
	$(python) -m bench $(or $(ARGS),--full all)

bench-quick: $(bench_ready) ## whether every part of the benchmark works; its numbers mean nothing
	@bench/install.sh
	$(python) -m bench --quick --output .bench/quick $(or $(ARGS),all)

soak: $(bench_ready) ## 30 minutes under load and random kills: whether memory, handles and disk stay flat; ARGS="--minutes 120"
	$(python) -m bench.soak $(ARGS)

check: $(develop_ready) ## lint, format, types, layers, generated code, documentation; changes nothing
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	$(python) -m pytest --quiet tests/house

docs: $(document_ready) ## the documentation as a site in build/site; fails at the first warning, such as a link to nowhere
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --quiet $(ARGS)

fix: $(develop_ready) ## mends what `check` finds, as far as a machine can
	$(python) tools/generate_pb.py
	$(python) tools/generate_blocking_client.py
	$(python) tools/generate_configuration_reference.py
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

proto: $(develop_ready) ## generates src/meteora/pb from meteora-proto/proto
	$(python) tools/generate_pb.py

lock: $(develop_ready) ## locks what the container image is built from; ARGS=--upgrade takes newer releases
	PYTHON=$(python) tools/lock_requirements.sh $(ARGS)

screenshots: $(develop_ready) ## pictures of the status page in docs/images; takes Chromium, and two minutes
	$(python) -m tools.screenshots $(ARGS)

clean: ## removes what these targets made: .venv, .cluster, .bench, caches, builds; never ./data
	rm -rf .venv .cluster .bench .fuzz .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(run_ready): pyproject.toml
	@sh tools/make_venv.sh
	@echo "Installing Meteora in .venv ..."
	@$(pip_install) .
	@touch $@

$(develop_ready): pyproject.toml
	@sh tools/make_venv.sh
	@echo "Installing Meteora and what it is developed with in .venv ..."
	@$(pip_install) '.[dev]'
	@touch $(run_ready) $@

$(bench_ready): pyproject.toml
	@sh tools/make_venv.sh
	@echo "Installing Meteora and what its benchmark needs in .venv ..."
	@$(pip_install) '.[bench]'
	@touch $(run_ready) $@

$(document_ready): pyproject.toml
	@sh tools/make_venv.sh
	@echo "Installing Meteora and what its documentation needs in .venv ..."
	@$(pip_install) '.[docs]'
	@touch $(run_ready) $@

$(fuzz_ready): pyproject.toml
	@sh tools/make_venv.sh
	@echo "Installing Meteora and what it is fuzzed with in .venv ..."
	@$(pip_install) '.[dev,fuzz]'
	@touch $(run_ready) $(develop_ready) $@
