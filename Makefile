# covey: `make` alone lists the verbs. Each builds what it needs in .venv first; nothing outside this folder changes.
# Kept to what GNU make 3.81 knows, and to relative paths: a folder may have a space in its name.

PYTHON_M = .venv/bin/python -m
WORKERS = 2
PYTEST = $(PYTHON_M) pytest -q -n $(WORKERS) --dist worksteal

# Floors 1 to 4 of the house: pure, so their own tests have to reach nearly every branch without the simulator's help.
FLOORS = core wire crdt rows protocols engine observe

# Of the simulator: each has its laws and its faults.
PROFILES = overlay membership detector rows groups

# The tests and the demo measure time: one verb after the other, under -j too.
.NOTPARALLEL:
.PHONY: help demo test check bench prove clean distclean lint broken

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/.cli ## start five processes here, kill one, split the network: nothing is lost (make demo ARGS=--json)
	@$(PYTHON_M) covey demo $(ARGS)

check: lint ## ruff, mypy and the fast tests: less than a minute
	$(PYTEST) -m "not serial and not slow"

test: export HYPOTHESIS_PROFILE = test
test: lint ## everything that has to pass: check, the slow and the serial tests, coverage, simulated worlds of each profile
	sh tools/coverage.sh $(WORKERS) $(FLOORS)
	$(PYTEST) -m "not serial and not slow" $(FLOORS:%=--ignore=tests/%)
	$(PYTEST) -m "slow and not serial and not nightly" tests
	$(PYTHON_M) pytest -q -p no:xdist -m "serial and not nightly"
	for profile in $(PROFILES); do $(PYTHON_M) covey.sim --profile $$profile --seeds 50 || exit 1; done
	$(PYTHON_M) covey.sim --profile hub --seeds 20

bench: .venv/.cli ## measure on this machine what links carry, what detecting a death takes and costs, and what groups and hubs cost, as JSON
	@$(PYTHON_M) benchmarks.transport --json
	@$(PYTHON_M) benchmarks.detector --json
	@$(PYTHON_M) benchmarks.groups --json --peer pg
	@$(PYTHON_M) benchmarks.hub --json

prove: .venv/.dev ## search much longer than test does: thousands of simulated worlds, many more examples of every law
	for profile in $(PROFILES) hub; do $(PYTHON_M) covey.sim --profile $$profile --seeds 5000 || exit 1; done
	$(PYTHON_M) pytest -q -rP -p no:xdist tests/sim/test_bugs_found.py
	HYPOTHESIS_PROFILE=prove $(PYTEST) -m "not serial"
	$(PYTHON_M) pytest -q -p no:xdist -m "serial and nightly"

clean: ## take away what tools left behind
	rm -rf .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .setup.log build dist
	find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## clean, and take away .venv and the examples that hypothesis remembers
	rm -rf .hypothesis .venv

lint: .venv/.dev
	$(PYTHON_M) ruff check
	$(PYTHON_M) ruff format --check
	$(PYTHON_M) mypy

# The stamps say what .venv holds. One follows the other, so no two installations ever run at once.
# A .venv may break behind their back (a folder that moved, a Python that went): then they count for nothing.
ifneq ($(wildcard .venv/.cli .venv/.dev),)
BROKEN := $(shell sh tools/setup.sh state)
endif

.venv/.cli: pyproject.toml constraints.txt tools/setup.sh $(BROKEN)
	@sh tools/setup.sh cli

.venv/.dev: .venv/.cli
	@sh tools/setup.sh dev
