# demo: from nothing to a classified radiograph. test: from nothing to green tests.
# Both make their own virtual environment (VENV) on a machine that has Python 3.11 or later and nothing else.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
FILES  ?=

PAGE   := services/labeling/page

.PHONY: demo test lint protos protos-check page page-check locks audit bench clean

demo: $(VENV)/.demo
	$(BIN)/canicor demo $(FILES)

# One thread for each process of the tests, of which there is one a core.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

lint: $(VENV)/.dev protos-check page-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

# Writes the stubs that are committed beside the library's own modules.
protos: $(VENV)/.dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python protos/generate.py .

protos-check: $(VENV)/.dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python protos/generate.py --check .

# Builds the labelling page, which is committed so that nobody needs Node.js to serve it.
page: $(VENV)/.dev $(PAGE)/node_modules
	cd $(PAGE) && PATH="$$PWD/node_modules/.bin:$$PATH" $(abspath $(BIN))/buf generate
	npm --prefix $(PAGE) run build

page-check: page
	npm --prefix $(PAGE) run lint
	git diff --exit-code -- $(PAGE)
	test -z "$$(git status --porcelain -- $(PAGE))"

$(PAGE)/node_modules: $(PAGE)/package-lock.json
	npm --prefix $(PAGE) ci --no-audit --no-fund
	touch $@

# What each image holds, to the byte. Versions change here and nowhere else.
LOCKS := deploy/docker/locks
classifier_EXTRAS := classifier tracing
classifier-gpu_EXTRAS := classifier-gpu tracing
generator_EXTRAS := generator tracing
generator-gpu_EXTRAS := generator diffusers ray tracing
labeling_EXTRAS := labeling tracing
training_EXTRAS := training tracing

locks: $(VENV)/.dev $(patsubst %,$(LOCKS)/%.txt,build classifier classifier-gpu generator generator-gpu labeling training)

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	--no-header --no-annotate --output-file $@

$(LOCKS)/build.txt: FORCE
	printf 'cyclonedx-bom\nhatchling\npip\n' | $(COMPILE) -

$(LOCKS)/%.txt: FORCE
	$(COMPILE) $(addprefix --extra ,$($*_EXTRAS)) pyproject.toml

audit: $(VENV)/.dev
	for lock in $(LOCKS)/*.txt; do \
		$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $$lock || exit 1; \
	done

FORCE:

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/phantom.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python -m benchmarks.hostile_files
	$(BIN)/python benchmarks/real_thumbnails.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/out_of_distribution.py
	$(BIN)/python benchmarks/trust.py
	$(BIN)/python benchmarks/curation.py
	$(BIN)/python benchmarks/burned_in.py
	$(BIN)/python -m benchmarks.executors
	$(BIN)/python -m benchmarks.labelling_page
	$(BIN)/python -m benchmarks.labelling

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[classifier,generator,labeling,training]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo
