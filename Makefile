# A fresh machine needs Python 3.11 or newer, and make. `make test` also uses Java, Maven and mosquitto, where
# they are installed, to start real servers; it says what is missing.
PYTHON ?= python3
# One more than the two cores on which it has to be quick: many tests wait for a server or a timer.
WORKERS ?= 3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV ?= $(if $(wildcard $(BIN)/uv),$(BIN)/uv,uv)

.DEFAULT_GOAL := help
.PHONY: help install demo quick test drills servers stop-servers bench lock

help:
	@echo "make install        .venv with everything that requirements.lock names"
	@echo "make demo           a small living charging network; ARGS=\"--for 60\" ends it after a minute"
	@echo "make quick          the pure rooms alone, with few examples of each law: half a minute; ARGS goes to pytest"
	@echo "make test           lint, types, then all tests; ARGS goes to pytest"
	@echo "make drills         what lasts longer: seeds never run before, ablations, laws, rebuilds, power losses, months, a"
	@echo "                    fleet, kills; SEEDS=100000 KILLS=20 and the other numbers of the Makefile"
	@echo "make servers        starts a real Kafka, MongoDB, Redis and mosquitto; settings in .servers/env"
	@echo "make stop-servers   ends exactly those"
	@echo "make bench          measures; ARGS goes to chargesphere bench"
	@echo "make lock           renews both locks after a change of pyproject.toml (needs uv); ARGS=--upgrade for newer versions"

install: $(STAMP)

# The lock names the build backend too, so that nothing is installed without a hash.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ChargeSphere needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11 install")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	$(BIN)/chargesphere demo $(ARGS)

# What decides, computes and translates: nothing here starts a process or a server.
PURE := tests/domain tests/protocols tests/commands tests/projections --ignore tests/projections/store
quick: install
	$(BIN)/python -m pytest -q -n logical --dist worksteal --hypothesis-profile=loop -m "not (long or mongo)" $(PURE) $(ARGS)

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python -m tests.servers fetch || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# Before an issue ends: some of it takes an hour. Smaller numbers show that each part begins and ends.
SEEDS ?= 100000
SPAN ?= 400
KILLS ?= 20
FAUST_KILLS ?= 5
REBUILDS ?= 30
LOSSES ?= 1000
FLIPS ?= 3000
CHARGES ?= 24000
POINTS ?= 10000
LONG := $(BIN)/python -m pytest -q --timeout 3600
BENCH := PYTHONPATH=$(CURDIR) $(BIN)/chargesphere bench
drills: install
	$(BENCH) --seeds $(SEEDS)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation.ablations --seeds $(SPAN)
	$(LONG) -n $(WORKERS) --dist worksteal --hypothesis-profile=drills $$(grep -rl "import tried" tests --include='test_*.py')
	FAUST_KILLS=$(FAUST_KILLS) $(LONG) tests/streams/faust/test_app.py
	REBUILD_KILLS_EVERY=1 REBUILD_SEEDS=$(REBUILDS) $(LONG) -n $(WORKERS) tests/streams/projecting/test_rebuild.py
	$(BIN)/python -m tests.simulation.disk --losses $(LOSSES) --flips $(FLIPS)
	MONTHS_CHARGES=$(CHARGES) $(LONG) tests/bench/test_endings.py
	$(BENCH) --idle --points $(POINTS)
	$(BENCH) --hostile
	$(BENCH) --kills $(KILLS) --runtime embedded
	$(BENCH) --kills $(KILLS) --gateways 2 --deciders 2

servers: install
	@$(BIN)/python -m tests.servers start

stop-servers: install
	@$(BIN)/python -m tests.servers stop

# From the working copy, because the kill runs start their own servers with tests.servers.
bench: install
	PYTHONPATH=$(CURDIR) $(BIN)/chargesphere bench $(ARGS)

# Two locks of one resolution: everything, and what the image ships. Both name the build backend.
BACKEND := $(PYTHON) -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]))'
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url

lock:
	@$(BACKEND) | $(COMPILE) $(ARGS) --extra dev -o requirements.lock pyproject.toml -
	@$(BACKEND) | $(COMPILE) -c requirements.lock -o deploy/requirements.lock pyproject.toml -
