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

# What people wrote in English: not data, other people's texts, or translations.
PROSE := ':!tests/data' ':!tests/fuzz/seeds' ':!*.lock' ':!*package-lock.json' ':!LICENSE*' ':!*.png' ':!*.svg' \
  ':!src/web/page/languages.js' ':!tests/browser/unit/language.test.mjs'

.PHONY: help run quick test test-device deb-boards test-installed test-long check cross test-cross deb test-deb soak fuzz bench bench-net plots test-fresh
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

run: ## install what is missing, build and start the daemon: make run ARGS='--config my.toml'
	@tests/setup.sh build
	cargo build --release --locked
	exec target/release/peercam $(ARGS)

quick: ## check formatting and lints and run the unit tests, while you work
	@tests/setup.sh build
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib

test: ## install what the tests need and run all of them; make test TESTS=browser runs those with that in their names
	@tests/setup.sh build net browser board peers
	# Once for all tests, and before they run without a network.
	cargo test --locked --no-run
	[ -n "$(TESTS)" ] || tests/fuzz/run.sh build
	tests/run.sh $(TESTS)

test-device: deb-boards test-installed ## build for boards, install the packages on emulated boards and test them there

# The unit tests run on the 32-bit processor here; `make test-long` runs them on the 64-bit one.
deb-boards: # quickly built packages, and the unit tests on an emulated board processor
	@tests/setup.sh deb cross
	$(MAKE) deb PROFILE=board
	[ -n "$(TESTS)" ] || $(MAKE) test-cross TARGETS=armv7-unknown-linux-gnueabihf

test-installed: # make test-installed TESTS=arm64 tests one architecture
	@tests/setup.sh build net browser device
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) PEERCAM_PACKAGES=$(CURDIR)/target/debian tests/net.sh \
	  cargo test --locked --offline --no-fail-fast --test it installed::$(TESTS) -- --test-threads=1 --nocapture

test-long: ## before a release, on a quiet machine: absolute figures, and the unit tests on an emulated arm64 processor
	@tests/setup.sh build net browser board
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) tests/net.sh cargo test --locked --offline --no-fail-fast --test it long:: -- --test-threads=1 --nocapture
	$(MAKE) test-cross TARGETS=aarch64-unknown-linux-gnu

check: ## check formatting, lints, documentation, and the licences and sources of dependencies
	@tests/setup.sh check
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	env $$(tests/setup.sh places) tests/oldest.sh
	git ls-files -z $(PROSE) | xargs -0 codespell --ignore-words tests/words.txt
	# Also dependencies for other systems: all of them are checked.
	cargo fetch --locked --quiet
	# Known vulnerabilities are not looked up: the advisory database is a separate repository.
	env $$(tests/setup.sh places) sh -c 'exec "$$PEERCAM_DENY" --offline --locked check --hide-inclusion-graph bans licenses sources'

cross: ## build programs that run on Debian 11 and newer: make cross TARGETS=aarch64-unknown-linux-gnu; PROFILE=board is a quick build
	@tests/setup.sh cross
	cross/build.sh "$(TARGETS)" $(PROFILE) build

test-cross: ## run the unit tests on emulated board processors; make test-cross TESTS=viewer runs some
	@tests/setup.sh cross
	cross/build.sh "$(TARGETS)" board test $(TESTS)

soak: ## let viewers come and go on an emulated board for an hour and draw cost and delay; make soak MINUTES=600 takes longer
	@tests/setup.sh build net browser board
	cargo test --locked --no-run --test it
	env $$(tests/setup.sh places) PEERCAM_SOAK_MINUTES=$(MINUTES) PEERCAM_SOAK_TABLE=$(CURDIR)/target/soak.csv tests/net.sh \
	  cargo test --locked --offline --test it soak:: -- --nocapture
	tests/plot.py soak target/soak.csv target/soak.svg

fuzz: ## feed mutated input to everything that reads foreign bytes; EACH=3600 for an hour each, TESTS='offer whep' for some
	@tests/setup.sh build
	tests/fuzz/run.sh $(EACH) $(TESTS)

bench-net: ## print what pacing and estimate do on each model of a link
	@tests/setup.sh build
	@cargo test --locked --quiet --lib -- --ignored --exact viewer::cc::tests::lines --nocapture | grep ^scenario=

plots: ## draw docs/link-*.svg: estimate and queue over time, on models of a link
	@tests/setup.sh build
	@for link in fall rfc8867-5.1; do \
	  CC=$$link cargo test --locked --quiet --lib -- --ignored --exact viewer::cc::tests::run --nocapture | tests/plot.py link docs/link-$$link.svg; \
	done

bench: ## measure the figures of docs/measured.md
	@tests/setup.sh build net browser peers
	env $$(tests/setup.sh places) tests/net.sh cargo bench --locked --offline --bench peercam -- $(TESTS)

deb: cross ## make Debian packages for amd64, arm64 and armhf in target/debian/; TARGETS and PROFILE as for cross
	@tests/setup.sh deb
	env $$(tests/setup.sh places) PROFILE=$(PROFILE) systemd/deb.sh $(TARGETS)

test-deb: ## install, upgrade, remove and purge the packages of `make deb` in bare Debian systems (as root)
	@PEERCAM_RELEASES='bullseye bookworm trixie' tests/setup.sh deb
	env $$(tests/setup.sh places) tests/deb.sh bullseye bookworm trixie

test-fresh: ## check `make run` and `make test` in a new, bare Debian root (as root, 30 to 60 minutes)
	@tests/fresh.sh
