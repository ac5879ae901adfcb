#!/usr/bin/env bash
# Feeds mutations of known inputs to the code that reads foreign bytes, guided by code coverage (libFuzzer).
#
#   tests/fuzz/run.sh SECONDS [TARGET...]     runs each target for this long, two at a time; all targets by default
#   tests/fuzz/run.sh TARGET FILE             runs one input again
#   tests/fuzz/run.sh build                   only builds the fuzzer
#
# A target stops at a panic, or if one input takes 10 s or 2 GB. The input is then in target/fuzz/TARGET/found; once the bug is
# fixed, add a test with these bytes. New inputs are kept in target/fuzz/TARGET/corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
targets=(offer signal whep join config camera door datagrams reports)
usage() { sed -n '2,10s/^# \{0,1\}//p' tests/fuzz/run.sh >&2; exit 2; }
[ $# -gt 0 ] || usage

# The dependencies are shared with the tests; the flags of tests/fuzz/rustc.sh are for two crates only.
RUSTC_WRAPPER=$PWD/tests/fuzz/rustc.sh cargo build --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target
fuzz=$PWD/target/debug/fuzz
[ "$1" != build ] || exit 0

if [ -f "${2:-}" ]; then
  TARGET=$1 exec "$fuzz" "$2"
fi
seconds=$1
shift
[ "$seconds" -gt 0 ] 2>/dev/null || usage
[ $# -eq 0 ] || targets=("$@")

one() {
  local target=$1 dir=target/fuzz/$1 seeds=()
  mkdir -p "$dir/corpus" "$dir/found"
  for seed in tests/fuzz/seeds/"$target"; do [ -d "$seed" ] && seeds+=("$seed"); done
  case $target in offer | join) seeds+=(tests/data) ;; esac
  if TARGET=$target "$fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$dir/found/" -print_final_stats=1 "$dir/corpus" "${seeds[@]}" >"$dir/log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/log") inputs," \
      "$(find "$dir/corpus" -type f | wc -l) in the corpus"
  else
    tail -40 "$dir/log" | cut -c 1-200
    echo "$target FAILED: see $dir/log; the input is in $dir/found" >&2
    return 1
  fi
}
export -f one
export fuzz seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'one {}'
