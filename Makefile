# Everything a user or a developer needs. A bare Debian also needs:
#   apt-get install python3 python3-venv python3-dev gcc make git
# and for its tests, which drive clients that run on Node, and the admin page in a browser:
#   apt-get install nodejs npm chromium
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
# Built as it is asked for: with KIROPROXY_DEBUG=1, or without.
BUILT := .venv/built$(if $(KIROPROXY_DEBUG),-debug)
OTHER := .venv/built$(if $(KIROPROXY_DEBUG),,-debug)
CLIENTS := .venv/clients
PAGE := kiroproxy/server/static/index.html
COMPILED := $(patsubst kiroproxy/%.pyx,kiroproxy.%,$(wildcard kiroproxy/*.pyx))
FLAGS := $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(WORKERS),--workers $(WORKERS))

.PHONY: run build ui check test check-ui browser clients bench soak micro tokens instructions load clean

# Serves Kiro when there is a credentials.json, else the built-in simulator. PORT=8080 HOST=127.0.0.1
# With Node here, the admin page is built first; without, all the rest runs.
run: build
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory ui || echo 'starting without the admin page' >&2; fi
	@if [ -e credentials.json ]; then exec $(BIN)/kiroproxy serve --create-config $(FLAGS); else exec $(BIN)/kiroproxy demo $(FLAGS); fi

build: $(BUILT)

$(BUILT): pyproject.toml setup.py $(wildcard kiroproxy/*.pyx kiroproxy/*.pxd kiroproxy/*.h)
	@PYTHON=$(PYTHON) .ci/needs
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if [ -e $(OTHER) ]; then rm -rf build kiroproxy/_*.c kiroproxy/_*.so $(OTHER); fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m compileall -q kiroproxy  # else a start compiles it where bytecode is not written
	@touch $@

check: build
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	$(BIN)/python -m mypy.stubtest $(COMPILED) --ignore-disjoint-bases --allowlist .ci/stubtest-allowlist

# Two files of tests at a time, since each test has ports and folders of its own; JOBS=1: one.
test: check check-ui clients browser
	$(BIN)/python -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile)

# The admin page, which the gateway serves under /admin; wants Node 20.19 or newer and npm.
ui: $(PAGE)

$(PAGE): admin-ui/node_modules/.package-lock.json $(shell find admin-ui -name node_modules -prune -o -type f -print)
	npm --prefix admin-ui run --silent build

admin-ui/node_modules/.package-lock.json: admin-ui/package-lock.json
	@.ci/needs ui
	npm --prefix admin-ui ci --silent --no-audit --no-fund

check-ui: ui
	npm --prefix admin-ui run --silent check
	npm --prefix admin-ui run --silent test

# What the tests of the page drive: Debian's Chromium, installed where this runs as root.
browser:
	@.ci/needs browser

# Claude Code, the SDKs and an agent framework, which tests/end_to_end drives; wants Node and npm.
clients: $(CLIENTS)/built

$(CLIENTS)/built: $(wildcard tests/end_to_end/clients/*.txt tests/end_to_end/clients/*.json tests/end_to_end/clients/install) | build
	@.ci/needs node
	tests/end_to_end/clients/install $(CLIENTS) $(BIN)/python
	@touch $@

# Everything below benchmarks/README.md: about 12 minutes on a quiet machine with two CPUs.
# BENCH=--short, --full, "--only paced,short", "--nice -10"; python -m benchmarks.compare --help
bench: build load
	@benchmarks/needs
	$(BIN)/python -m benchmarks.compare $(BENCH)
	@$(MAKE) --no-print-directory micro

# Half an hour of clients that leave at random; fails if one of them leaves something behind.
# SOAK="--minutes 10 --workers 2 --tls --store"; python -m benchmarks.soak --help
soak: build
	$(BIN)/python -m benchmarks.soak $(SOAK)

# The parts by themselves.
micro: build
	@mkdir -p .benchmarks
	$(BIN)/python -m pytest benchmarks -q -o addopts=--import-mode=importlib -o python_files='bench_*.py' \
		-o python_functions='bench_*' --benchmark-only --benchmark-max-time=0.3 --benchmark-min-rounds=5 \
		--benchmark-columns=median,iqr,rounds --benchmark-json=.benchmarks/micro.json
	$(BIN)/python -m benchmarks.compare --micro .benchmarks/micro.json
	@$(MAKE) --no-print-directory tokens

# How near the token counts are to those of Anthropic's published tokenizer, which npm fetches.
tokens: build .benchmarks/tokenizer/built
	$(BIN)/python -m benchmarks.tokens .benchmarks/tokenizer/node_modules

.benchmarks/tokenizer/built: benchmarks/tokens/package.json benchmarks/tokens/package-lock.json
	@.ci/needs node
	@mkdir -p $(@D) && cp $^ $(@D)
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(@D) </dev/null
	@touch $@

# Instructions of the hot paths under valgrind, compared with the stored ones. STORE=1 replaces these.
instructions: build
	$(BIN)/python -m benchmarks.instructions --check $(if $(STORE),--store)

load: benchmarks/load/build/kiro benchmarks/load/build/load

benchmarks/load/build/%: benchmarks/load/%.c benchmarks/load/wire.h benchmarks/load/proc.h
	@mkdir -p $(@D)
	@echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1 || { echo 'OpenSSL headers are missing: apt-get install libssl-dev'; exit 1; }
	cc -std=gnu11 -O2 -Wall -Wextra -o $@ $< $(if $(filter kiro,$*),-lssl -lcrypto)

clean:
	rm -rf admin-ui/node_modules kiroproxy/server/static
	rm -rf .venv build benchmarks/load/build *.egg-info kiroproxy/*.so $(patsubst %.pyx,%.c,$(wildcard kiroproxy/*.pyx))
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
