# python3 (3.11 or newer), pip and make are all this needs. State lives in var/, the environment in .venv/.
PYTHON ?= python3
PY := .venv/bin/python
# A relative ZOS_DB is looked for here and, under `make -C`, where make was called.
export CALLED_FROM := $(PWD)

# Two suites on two cores, each shown when it is done; one after the other where make is too old for that.
SIDE_BY_SIDE := $(if $(filter output-sync,$(.FEATURES)),--jobs=2 --output-sync=target)

.DEFAULT_GOAL := help
.PHONY: help run test lint test-sqlite test-postgres test-browser guards bench soak lock

help:
	@echo "make run              serve the monitor with demo runs on http://127.0.0.1:8000 (PORT=8000)"
	@echo "make run ZOS_DB=PATH  serve the runs of a Zos database, in a database of their own"
	@echo "make test             check everything: SQLite, PostgreSQL, a real browser"
	@echo "make bench            measure speed, print ratios"
	@echo "make guards           take guards away in a copy of this tree, and see their tests fail"
	@echo "make soak             load and faults: what is promised under them, about 15 minutes"
	@echo "make lock             compile requirements*.txt anew (needs uv)"

run: .venv/.site
	@$(PY) -m zos_site.run

test: .venv/.tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) test-sqlite test-postgres test-browser
	@$(PY) .ci/catalogue

lint: export DJANGO_SETTINGS_MODULE = zos_site.settings_test
lint: .venv/.tests
	$(PY) -m ruff check --quiet
	env -u DATABASE_URL $(PY) manage.py check
	env -u DATABASE_URL $(PY) manage.py makemigrations --check --dry-run

# Measured, since what these let slip is lost. To measure the whole suite would take half as long again.
DOORS := $(addprefix layer_runs/tests/test_,import_zos.py importing.py zos_source.py removals.py prune.py redaction.py)
COVERED := layer_runs/sources/*,layer_runs/importing.py,layer_runs/removals.py,layer_runs/retention.py
COVERED := $(COVERED),layer_runs/redaction.py,layer_runs/management/commands/import_zos.py
COVERED := $(COVERED),layer_runs/management/commands/prune_layer_runs.py

test-sqlite: .venv/.tests
	env -u DATABASE_URL $(PY) -m pytest -q $(DOORS) --cov --cov-report=
	$(PY) -m coverage report --fail-under=100 --include='$(COVERED)'
	env -u DATABASE_URL $(PY) -m pytest -q -m "not browser" $(addprefix --ignore=,$(DOORS))

test-postgres: .venv/.tests
	.ci/with-postgres $(PY) -m pytest -q -m "not browser"

test-browser: .venv/.tests
	env -u DATABASE_URL $(PY) -m pytest -q -m browser

bench: .venv/.site
	@$(PY) -m bench

# make soak TRIALS="T03 T07 --quick" plays some.
guards: .venv/.tests
	@$(PY) .ci/guards

soak: .venv/.tests
	@$(PY) -m soak $(TRIALS)

# The stamps: an environment is made again when the list it was made from changes.
.venv/.site: requirements.txt .ci/install
	@PYTHON='$(PYTHON)' .ci/install requirements.txt
	@touch $@

.venv/.tests: requirements-test.txt .venv/.site
	@PYTHON='$(PYTHON)' .ci/install requirements-test.txt
	@touch $@

lock:
	.ci/lock requirements requirements-test
