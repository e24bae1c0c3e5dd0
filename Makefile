# `make run`, `make test`, `make test-workshop`: each makes its own environment (the first time only; python3 with venv and make
# are all it takes).

PYTHON ?= python3
# Those of requires-python: the tests run on one of them, lint, types and pins are checked for all.
PYTHONS := 3.10 3.11 3.12 3.13
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# A stamp's name holds a checksum of what it stands for, so touched files and switched branches cost nothing.
key = $(shell { echo "$(CURDIR)"; $(PYTHON) -V; cat $(1); } 2>&1 | cksum | tr ' ' '-')
BASE := .venv
BASE_LIBRARIES := $(BASE)/libraries-$(call key,requirements/base.txt requirements/build.txt)
BASE_READY := $(BASE)/edgecell-$(call key,requirements/base.txt requirements/build.txt pyproject.toml)
TEST := .venv-test
TEST_LIBRARIES := $(TEST)/libraries-$(call key,requirements/test.txt)
TEST_READY := $(TEST)/edgecell-$(call key,requirements/test.txt pyproject.toml)
# What the types of TensorRT and CUDA are read from
STUBS := .stubs
STUBS_READY = $(STUBS)/made-$(call key,requirements/stubs.txt requirements/test.txt tests/vendor_stubs.py)
# What trains. No hash pins torch: each platform and each GPU has a build of its own, so say which, e.g. TORCH=torch==2.13.0+cpu
TORCH ?= torch>=2.6,<3
WORKSHOP := .venv-workshop
WORKSHOP_LIBRARIES := $(WORKSHOP)/libraries-$(call key,requirements/test.txt)
WORKSHOP_READY := $(WORKSHOP)/edgecell-$(call key,requirements/test.txt pyproject.toml)-$(shell echo '$(TORCH)' | cksum | tr ' ' '-')
# Those that are wheels: pycuda comes as source
EXTRAS = $(filter-out pycuda,$(shell sed -n '/^\[project.optional-dep/,/^\[project.scripts/s/^\([a-z0-9-]*\) = .*/\1/p' pyproject.toml))
NEED_TORCH = $$(grep -rl 'importorskip("torch"' tests)

INSTALL = bin/python -m pip install -qq --no-deps
LIBRARIES = $(INSTALL) --only-binary :all: --require-hashes
PROJECT = $(INSTALL) --no-build-isolation --editable .
UV ?= uv
LOCK = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-annotate --no-header

.PHONY: help run test test-workshop check lint types wheel pack lock clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

run: $(BASE_READY)  ## make .venv and run the phantom slide: segment, classify, count, publish
	$(BASE)/bin/edgecell run --max-frames 200

test: check  ## make .venv-test, then lint, check imports and types, run every test
	$(TEST)/bin/python -m pytest

test-workshop: $(WORKSHOP_READY)  ## make .venv-workshop with torch, then run the tests that need it
	$(WORKSHOP)/bin/python -m pytest $(NEED_TORCH)

check: lint types

lint: $(TEST_READY)  ## ruff and import-linter
	$(TEST)/bin/ruff check --quiet .
	$(TEST)/bin/ruff format --check --quiet .
	$(TEST)/bin/lint-imports --no-cache

# numpy's stubs of 3.11 to 3.13 tell less when read for 3.10, so there a function may return Any; 3.10's own numpy is another one.
types: $(TEST_READY) $(STUBS_READY)  ## mypy --strict, once for each Python
	@case "$$($(TEST)/bin/python -V)" in *" 3.10."*) echo "types are checked on Python 3.11 and later"; exit;; esac; \
	for version in $(PYTHONS); do \
	  echo "mypy --strict, Python $$version"; \
	  case $$version in 3.10) looser=--no-warn-return-any;; *) looser=;; esac; \
	  $(TEST)/bin/mypy --no-error-summary $$looser --python-version $$version --cache-dir .mypy_cache/$$version || exit 1; \
	done

wheel: $(TEST_READY)  ## dist/edgecell-*.whl
	$(TEST)/bin/python -m hatchling build --target wheel
	@ls -l dist/*.whl

pack: $(TEST_READY)  ## a folder that installs edgecell where there is no network, FOR="..." as deploy/offline.md says
	$(TEST)/bin/python -m deploy.offline.pack $(FOR)

lock:  ## pin requirements/ again from pyproject.toml, for every Python and machine (needs uv)
	$(LOCK) --upgrade pyproject.toml --group test -o requirements/test.txt
	$(LOCK) pyproject.toml --constraints requirements/test.txt -o requirements/base.txt
	$(LOCK) --group build --constraints requirements/test.txt -o requirements/build.txt
	$(LOCK) --group pack --constraints requirements/test.txt -o requirements/pack.txt
	for extra in $(EXTRAS); do \
	  $(LOCK) pyproject.toml --extra $$extra --constraints requirements/test.txt -o requirements/extras/$$extra.txt || exit 1; \
	done
	$(LOCK) --group stubs --no-deps -o requirements/stubs.txt

clean:  ## remove the environments and what tools left behind
	rm -rf $(BASE) $(TEST) $(WORKSHOP) $(STUBS) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BASE_LIBRARIES):
	@echo "making $(BASE)  (libraries, once: about 350 MB)"
	@$(PYTHON) -m venv --clear $(BASE)
	@$(BASE)/$(LIBRARIES) -r requirements/base.txt -r requirements/build.txt
	@touch $@

$(TEST_LIBRARIES):
	@echo "making $(TEST)  (libraries and test tools, once: about 600 MB)"
	@$(PYTHON) -m venv --clear $(TEST)
	@$(TEST)/$(LIBRARIES) -r requirements/test.txt
	@touch $@

$(BASE_READY): $(BASE_LIBRARIES)
	@$(BASE)/$(PROJECT)
	@touch $@

$(TEST_READY): $(TEST_LIBRARIES)
	@$(TEST)/$(PROJECT)
	@touch $@

$(STUBS_READY): $(TEST_LIBRARIES)
	@rm -rf $(STUBS)
	@$(TEST)/$(LIBRARIES) --target $(STUBS) -r requirements/stubs.txt
	@$(TEST)/bin/python tests/vendor_stubs.py $(STUBS)
	@touch $@

$(WORKSHOP_LIBRARIES):
	@echo "making $(WORKSHOP)  (libraries and test tools, once: about 600 MB, and torch)"
	@$(PYTHON) -m venv --clear $(WORKSHOP)
	@$(WORKSHOP)/$(LIBRARIES) -r requirements/test.txt
	@touch $@

$(WORKSHOP_READY): $(WORKSHOP_LIBRARIES)
	@$(WORKSHOP)/bin/python -m pip install -qq --only-binary :all: '$(TORCH)'
	@$(WORKSHOP)/$(PROJECT)
	@touch $@
