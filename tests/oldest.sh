#!/usr/bin/env bash
# Compiles peercam with the oldest Rust that Cargo.toml promises (rust-version), which rustup provides. Debian without rustup
# has one compiler only; then this says that it has checked nothing, and clippy's `incompatible_msrv` has to do.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$PEERCAM_OLDEST_RUST
if rustup run "$wanted" rustc --version 2>/dev/null; then
  # A directory of its own, or each change of compiler would compile all dependencies again.
  CARGO_BUILD_BUILD_DIR=${CARGO_BUILD_BUILD_DIR:-target}/oldest rustup run "$wanted" cargo check --locked
else
  echo "tests/oldest.sh: NOT compiled with Rust $wanted, which this machine does not have" >&2
fi
