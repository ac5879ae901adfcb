#!/usr/bin/env bash
# Runs the tests that `make test` is for, once they are built: tests/run.sh [NAME] for those with NAME in theirs.
#
# The integration tests mostly wait, so they are three lanes, each in a network of its own (tests/net.sh): those on a virtual
# board, which have "board" in their names, those with browsers and foreign stacks, and the rest. What loads the machine on
# purpose comes after them: a picture that takes more than a processor, and the table of abuses. Fuzzing takes what they leave
# of the processors.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/parts.sh

integration() { # ARGUMENT... of the test binary
  # What test-device, test-long and soak are for is left to them.
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
loads=(live::a_board_that_can_t_keep_up abuse::)
skip=("${loads[@]/#/--skip=}")
beside 'tests on virtual boards' integration board "${skip[@]}"
beside 'tests with browsers and foreign stacks' integration "${foreign[@]}" --skip board "${skip[@]}"
# Where one of the three fails, the others are heard out: what else is wrong is known at once.
status=0
part 'all other tests' integration "${foreign[@]/#/--skip=}" --skip board "${skip[@]}" || status=$?
join || status=$?
[ "$status" = 0 ] || exit "$status"
part 'tests that load the machine' integration "${loads[@]}"
