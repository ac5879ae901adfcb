#!/bin/sh
# Cargo's RUSTC_WRAPPER: builds our own code with coverage for libFuzzer (LLVM's SanitizerCoverage), and
# leaves the dependencies as they are built for the tests. The flags are those of cargo-fuzz without a
# sanitizer; a stable compiler supports them too.
rustc=$1
shift
case " $* " in
*" --crate-name peercam "* | *" --crate-name fuzz "*)
  exec "$rustc" "$@" -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
  ;;
esac
exec "$rustc" "$@"
