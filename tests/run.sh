#!/usr/bin/env bash
# Runs the tests of `make test`, once they are built: tests/run.sh [NAME]; with NAME only those with NAME in their names.
#
# The integration tests mostly wait, so they run in three lanes, each in its own network (tests/net.sh): those on a virtual
# board, which have "board" in their names, those with browsers and other WebRTC stacks, and the rest. Tests that load the machine
# on purpose run after them: a picture that needs more than one processor, the table of abuses, several browsers over slow
# links, a walk over all rungs of two cameras, which judges every gap, and viewers of which each picture is counted. Fuzzing
# runs with the lowest priority.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/parts.sh

integration() { # ARGUMENT... for the test binary
  # The tests of test-device, test-long and soak are skipped.
  # shellcheck disable=SC2046 # a list of variables
  env $(tests/setup.sh places) tests/net.sh cargo test --locked --offline --no-fail-fast --test it -- --test-threads=1 \
    --skip installed:: --skip soak:: --skip long:: "$@"
}

if [ $# -gt 0 ]; then
  # shellcheck disable=SC2046
  env $(tests/setup.sh places) tests/net.sh cargo test --locked --offline --no-fail-fast "$1" -- --test-threads=1 \
    --skip installed:: --skip soak:: --skip long::
  exit
fi

export -f integration
part 'unit tests' cargo test --locked --offline --no-fail-fast --lib --bins
part 'tests of the page' node --test tests/browser/unit/*.test.mjs
beside 'fuzzing' idle tests/fuzz/run.sh 20
foreign=(browser:: changes:: networks:: nginx:: offers:: peers::)
loads=(live::a_board_that_can_t_keep_up abuse:: links:: rungs::three_hundred_changes load::a_stalled_viewer)
skip=("${loads[@]/#/--skip=}")
beside 'tests on virtual boards' integration board "${skip[@]}"
beside 'tests with browsers and foreign stacks' integration "${foreign[@]}" --skip board "${skip[@]}"
# If one of the three lanes fails, the others continue, so that all failures are known at once.
status=0
part 'all other tests' integration "${foreign[@]/#/--skip=}" --skip board "${skip[@]}" || status=$?
join || status=$?
[ "$status" = 0 ] || exit "$status"
part 'tests that load the machine' integration "${loads[@]}"
