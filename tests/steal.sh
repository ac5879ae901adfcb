#!/usr/bin/env bash
# tests/steal.sh COMMAND...: runs COMMAND while a third of the machine is taken away, as a busy host does to a virtual machine:
# all processors at once, for 100 to 500 ms at a time, 33 % of the time. The process that takes them has a real-time priority, so
# nothing of COMMAND runs meanwhile. Ends with COMMAND, and with its exit status. Needs root.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }

taken=$(mktemp)
chrt --fifo 50 python3 - "$taken" <<'P' &
import os, random, sys, time

# The same times on each processor: all processes draw the same numbers and use the same clock.
seed, at = time.monotonic_ns(), time.monotonic() + 0.5
for processor in sorted(os.sched_getaffinity(0))[1:]:
    if os.fork() == 0:
        break
else:
    processor = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {processor})
numbers, parent = random.Random(seed), os.getppid()
start, busy = at, 0.0
while os.path.exists(sys.argv[1]) and os.getppid() == parent:
    length = numbers.uniform(0.1, 0.5)
    time.sleep(max(0.0, at - time.monotonic()))
    while time.monotonic() < at + length:
        pass
    busy += length
    at += 3 * length
print(f"steal: took processor {processor} away for {busy:.0f} of {time.monotonic() - start:.0f} s", file=sys.stderr)
P
thief=$!
trap 'rm -f "$taken"; wait "$thief"' EXIT
status=0
"$@" || status=$?
exit "$status"
