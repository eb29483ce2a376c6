# Every target works as the first command on a fresh clone. `make help` lists them.
PYTHON ?= python3
HOST ?=
PYTEST = .venv/bin/python -m pytest
# the suite's own tests start an engine of one thread each: two modules at a time on 2 cores, in the order of their names
META = $(PYTEST) tests/meta --host=local -n 2 --no-loadscope-reorder
# GNU make ends with 2 whatever failed: the status itself is said, and ./readiness ends with it
told = || { status=$$?; case $$status in 1) why="a requirement failed" ;; 75) why="blocked or invalid: try again when that is settled" ;; *) why="called wrongly, or broken off" ;; esac; echo "make $@: exit status $$status ($$why); make itself ends with 2, ./readiness $@ with $$status" >&2; exit $$status; }

# a child session imports 175 modules of the suite; without their bytecode it compiles them anew each time
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup review engine lint static meta smoke test proof signoff rehearsal rehearsal-kit doctor bench docs lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed ## Make .venv from the committed lock

.venv/.installed: requirements.lock
	@test ! -L .venv || { echo "make setup: .venv is a symbolic link, and what it leads to is not ours to clear: remove the link, or let it lead to an environment that is set up" >&2; exit 2; }
	@test ! -e .venv -o -f .venv/pyvenv.cfg || { echo "make setup: .venv is there and is no virtual environment (it has no pyvenv.cfg), so it is not cleared: move it away" >&2; exit 2; }
	@echo "setting up .venv (about a minute)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; call make PYTHON=/path/to/python3" >&2; exit 2; }
	@if test -e kit/kit.json; then $(PYTHON) -m rehearsal.install; else \
	    $(PYTHON) -m venv --clear .venv && .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; fi
	@touch $@

engine: setup ## Build the embedded hosts' engine into the cache (8-10 minutes on 2 cores, once)
	@.venv/bin/python -m llama_build

signoff: setup ## Sign off the host of this machine, or HOST=name: all gates, report in reports/
	@./readiness signoff $(HOST) $(told)

rehearsal: setup ## The DGX's catalog at true scale on this GPU, with written models; in slices: SLICE=600 (seconds). ARGS="-- -k e4b"
	@.venv/bin/python -m rehearsal $(if $(SLICE),--seconds $(SLICE)) $(ARGS) $(told)

rehearsal-kit: setup ## All that a rehearsal needs elsewhere, in one file; FOR=3.12-x86_64, WITHOUT=numpy,scipy,cmake (what is there)
	@.venv/bin/python -m rehearsal.kit $(if $(FOR),--for $(FOR)) $(if $(WITHOUT),--without $(WITHOUT))

doctor: setup ## Look around on this machine, print an overlay to start from; FILE=name: into a new file
	@./readiness doctor $(if $(FILE),"$(FILE)") $(if $(HOST),--host="$(HOST)") $(told)

review: setup ## Show command lines and units that nobody reviewed yet; ACCEPT="WHO: REASON" keeps them as reviewed
	@.venv/bin/python -m fixtures.deploy.review $(if $(ACCEPT),--accept "$$ACCEPT")

lint: setup ## Style, types, import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

static: setup ## Static gates: the shipped catalogs, without engine, model or network
	$(PYTEST) -m "not runtime"

meta: setup ## The suite's own tests, as far as they need no engine and are short
	$(META) -m "not runtime and not long"

smoke: setup engine ## The gates of one candidate on a real server; its KL divergence, half of the time, is left to `make proof`
	$(PYTEST) --host=local -k "smollm2 and not close_to_f16"

test: lint static meta smoke ## Lint, static gates, meta tests, a runtime smoke

proof: setup engine ## All the rest: meta tests with an engine or long, then all gates of both embedded hosts as sign-offs
	$(META) -m "runtime or long"
	$(PYTEST) --host=local --signoff
	$(PYTEST) --host=twins --signoff

bench: setup ## Time the suite's maths, readers and patch set against their bounds (half an hour; python -m bench WORD: some)
	@.venv/bin/python -m bench

docs: setup ## Write what the README says of the catalog
	@.venv/bin/python -m fixtures.catalog.readme

lock: setup ## Resolve requirements.lock anew from pyproject.toml
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean: ## Remove .venv and tool caches; keeps reports/ and ~/.cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
