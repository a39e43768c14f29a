# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false

.PHONY: scale-test faults fuzz soak serve-load audit sbom demo test lint bench browser slow real site install

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/holdfast demo

# Two processes of one thread each are faster here than one of two; a file's tests stay in one process, for its fixtures.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

real: install
	$(BIN)/python -m pytest -m real

slow: install
	$(BIN)/python -m pytest -m slow

# What goes past one process, and past memory; docs/scale.md says what each test holds.
scale-test: install
	$(BIN)/python -m pytest -m "slow or not slow" tests/scale tests/training/test_processes.py tests/studies/test_ray.py

# What is killed, spoilt and repeated many times; docs/reliability.md has the last results.
faults: install
	$(BIN)/python -m tests.faults.kills --kills 200
	$(BIN)/python -m pytest -m "slow or not slow" tests/faults -k "not test_a_killed_command"

fuzz: install
	HOLDFAST_FUZZ=100000 $(BIN)/python -m pytest tests/fuzz -s

soak: install
	$(BIN)/python -m tests.faults.soak

serve-load: install
	$(BIN)/python -m tests.faults.soak_server --seconds 600

# Exit 1: a finding that SECURITY.md does not explain. Exit 3: no result, because the service of advisories was not there.
audit: .venv/audit/installed
	$(BIN)/python -m tests.security.audit .venv/audit/bin/pip-audit

# In an environment of their own: they would else be audited, and stand in the bill.
.venv/audit/installed: .venv/installed
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit cyclonedx-bom
	touch $@

# Of the wheel in dist/, installed alone into a fresh environment.
sbom: .venv/audit/installed
	rm -rf .venv/release
	$(PYTHON) -m venv .venv/release
	.venv/release/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	$(BIN)/python -m tests.security.bill dist/*.whl --python .venv/release/bin/python --tool .venv/audit/bin/cyclonedx-py

browser: install .venv/browser
	AXE_CORE=.venv/node_modules/axe-core/axe.min.js $(BIN)/python -m pytest -m browser

.venv/browser: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[playground]'
	npm install --silent --no-audit --no-fund --prefix .venv axe-core@4.14.1
	touch $@

# The notice is of the generator's next version, which this site does not use.
site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/bench-installed
	$(BIN)/python -m benchmarks.all

.venv/bench-installed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@
