# The commands of this repository. `make help` lists them; scripts/ready installs what a target needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run check test bench storm fuzz docs build-prod

export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
target := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
profile := $(if $(CI),ci,default)
tools := .test-env/tools/bin
sdk := .test-env/sdk/bin
clients := .test-env/clients/bin
ARGS ?=

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

run: ## builds and starts Tidegate without a configuration; ARGS="--bind 127.0.0.1:8090" is passed on
	@scripts/ready build
	cargo build --locked --package tidegate
	@exec $(target)/debug/tidegate quickstart $(ARGS)

check: ## format, lints, licences and sources, layers, spelling, docs: all that needs no running program
	@scripts/ready check
	@scripts/step format cargo fmt --all --check
	@scripts/step clippy cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/step deny cargo deny --locked --log-level error check licenses bans sources
	@scripts/step layers python3 scripts/layers
	@scripts/step spelling $(tools)/typos --config typos.toml
	@scripts/step links python3 scripts/links
	@scripts/step tables python3 scripts/tables
	@$(MAKE) --no-print-directory docs

test: ## every test; installs what it needs
	@scripts/step tools scripts/ready test
	@scripts/step "build for tests" cargo build --locked --package tidegate
	@INSTA_UPDATE=no scripts/step "Rust tests" cargo nextest run --locked --workspace --profile $(profile)
	@scripts/step "bench script" python3 -m unittest discover -q -s bench
	@scripts/step "doc tests" cargo test --locked --workspace --doc --quiet
	@TIDEGATE_BIN=$(abspath $(target)/debug/tidegate) scripts/step "SDK suites" $(sdk)/python tests/sdk/run.py
	@TIDEGATE_BIN=$(abspath $(target)/debug/tidegate) scripts/step "real clients" $(clients)/python tests/clients/run.py
	@TIDEGATE_BIN=$(abspath $(target)/debug/tidegate) scripts/step "README commands" $(sdk)/python tests/readme/run.py

bench: ## measures the production binary beside nginx, haproxy and Caddy and writes a report
	@scripts/ready bench
	@scripts/build-prod
	@TIDEGATE_BIN=$(abspath dist/tidegate) python3 bench/run.py $(ARGS)

storm: ## the production binary under load in reloads, binary upgrades and failures of endpoints, with a report
	@scripts/ready storm
	@scripts/build-prod
	@TIDEGATE_BIN=$(abspath dist/tidegate) python3 bench/storm.py $(ARGS)

fuzz: ## every fuzz target for FUZZ_SECONDS (60); ARGS="chunked" runs one
	@scripts/ready fuzz
	@scripts/fuzz $(ARGS)

docs: ## API documentation, warnings are errors
	@scripts/ready build
	@RUSTDOCFLAGS="-D warnings" scripts/step docs cargo doc --locked --workspace --no-deps

build-prod: ## the profile-guided binary for production with its checksum in dist/; ARGS=--train takes a new profile
	@scripts/ready prod
	@scripts/build-prod $(ARGS)
