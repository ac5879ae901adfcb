# make help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
export PATH := $(shell tests/setup.sh path):$(PATH)
ARGS ?=
TESTS ?=
EACH ?= 600
TARGETS ?= x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf
PROFILE ?= release
MINUTES ?= 60

.PHONY: help run quick test test-device deb-boards test-installed test-long check cross test-cross deb test-deb soak fuzz bench test-fresh
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

run: ## install what is missing, build and start the daemon: make run ARGS='--config my.toml'
	@tests/setup.sh build
	cargo build --release --locked
	exec target/release/peercam $(ARGS)

quick: ## formatting, lints and unit tests, for while you work
	@tests/setup.sh build
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib

test: ## install what the tests need and run them all: make test TESTS=browser for those with that name
	@tests/setup.sh build net browser board peers
	# Once for all, and before the network is left behind.
	cargo test --locked --no-run
	[ -n "$(TESTS)" ] || tests/fuzz/run.sh build
	tests/run.sh $(TESTS)

test-device: deb-boards test-installed ## build for boards, install the package on emulated ones and try it there

# The unit tests run on the one processor of 32 bits; `make test-long` has the other one run them, too.
deb-boards: # packages made quickly, and the unit tests as a board runs them
	@tests/setup.sh deb cross
	$(MAKE) deb PROFILE=board
	[ -n "$(TESTS)" ] || $(MAKE) test-cross TARGETS=armv7-unknown-linux-gnueabihf

test-installed: # make test-installed TESTS=arm64 for one of them
	@tests/setup.sh build net browser device
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) PEERCAM_PACKAGES=$(CURDIR)/target/debian tests/net.sh \
	  cargo test --locked --offline --no-fail-fast --test it installed::$(TESTS) -- --test-threads=1 --nocapture

test-long: ## before a release: absolute figures, on a machine with nothing else to do, and the unit tests on another processor
	@tests/setup.sh build net browser board
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) tests/net.sh cargo test --locked --offline --no-fail-fast --test it long:: -- --test-threads=1 --nocapture
	$(MAKE) test-cross TARGETS=aarch64-unknown-linux-gnu

check: ## formatting, lints, documentation, licences and sources of dependencies
	@tests/setup.sh check
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	# Also what other systems would need: all of it is judged.
	cargo fetch --locked --quiet
	# Known vulnerabilities are not looked up: that takes the advisory database, which is a repository of its own.
	env $$(tests/setup.sh places) sh -c 'exec "$$PEERCAM_DENY" --offline --locked check --hide-inclusion-graph bans licenses sources'

cross: ## build for boards and PCs from Debian 11 on: make cross TARGETS=aarch64-unknown-linux-gnu, PROFILE=board for a quick one
	@tests/setup.sh cross
	cross/build.sh "$(TARGETS)" $(PROFILE) build

test-cross: ## the unit tests as the boards' processors run them, emulated: make test-cross TESTS=viewer for some
	@tests/setup.sh cross
	cross/build.sh "$(TARGETS)" board test $(TESTS)

soak: ## viewers come and go on the virtual board for an hour: cost and delay, drawn: make soak MINUTES=600
	@tests/setup.sh build net browser board
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) PEERCAM_SOAK_MINUTES=$(MINUTES) PEERCAM_SOAK_TABLE=$(CURDIR)/target/soak.csv tests/net.sh \
	  cargo test --locked --offline --test it soak:: -- --nocapture
	tests/soak/plot.py target/soak.csv target/soak.svg

fuzz: ## feed all that reads foreign bytes with mutations: make fuzz EACH=3600 for an hour each, TESTS='offer whep' for some
	@tests/setup.sh build
	tests/fuzz/run.sh $(EACH) $(TESTS)

bench: ## measure; the figures of docs/measured.md
	@tests/setup.sh build net browser peers
	env $$(tests/setup.sh places) tests/net.sh cargo bench --locked --offline --bench peercam -- $(TESTS)

deb: cross ## Debian packages for amd64, arm64 and armhf, in target/debian/; TARGETS and PROFILE as for cross
	@tests/setup.sh deb
	env $$(tests/setup.sh places) PROFILE=$(PROFILE) systemd/deb.sh $(TARGETS)

test-deb: ## install, upgrade, remove and purge the packages that `make deb` made, in bare Debian systems (as root)
	@PEERCAM_RELEASES='bullseye bookworm trixie' tests/setup.sh deb
	env $$(tests/setup.sh places) tests/deb.sh bullseye bookworm trixie

test-fresh: ## prove `make run` and `make test` in a bare Debian root made for it (as root, 30 to 60 minutes)
	@tests/fresh.sh
