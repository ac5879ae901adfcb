# Timed parts of a run; to be sourced. The outermost script that sources this prints at its end how long each part took.
#
#   part NAME COMMAND...      runs COMMAND
#   beside NAME COMMAND...    runs COMMAND in parallel with what follows; its output is shown when it has ended
#   join                      waits for all parallel parts; fails if one of them failed
#   beside NAME idle COMMAND...   the same, with the lowest priority: for parts that compute, in parallel with parts that wait
#
# A part that fails ends the run and all parallel parts.

if [ -z "${PEERCAM_PARTS:-}" ]; then
  PEERCAM_PARTS=$(mktemp -d)
  export PEERCAM_PARTS
  : >"$PEERCAM_PARTS/times"
  outermost=1
fi
declare -A lanes=()

took() { # NAME SECONDS STATUS
  printf '%3d min %02d s  %s%s\n' $(($2 / 60)) $(($2 % 60)) "$1" "$([ "$3" = 0 ] || echo ' FAILED')" >>"$PEERCAM_PARTS/times"
}

part() {
  local name=$1 start=$SECONDS status=0
  shift
  "$@" || status=$?
  took "$name" $((SECONDS - start)) "$status"
  return "$status"
}

beside() {
  # Its own session, so that everything it started can be ended with it.
  setsid bash -c 'set -euo pipefail; . tests/parts.sh; part "$@"' beside "$@" >"$PEERCAM_PARTS/$1.log" 2>&1 </dev/null &
  lanes[$1]=$!
}

join() {
  local name status=0
  for name in "${!lanes[@]}"; do
    wait "${lanes[$name]}" || status=$?
    unset "lanes[$name]"
    printf '\n--- %s\n' "$name"
    cat "$PEERCAM_PARTS/$name.log"
  done
  return "$status"
}

idle() {
  # The kernel shares the CPU among sessions first, and then among the processes of each, so both need a low priority.
  [ ! -e /proc/self/autogroup ] || echo 19 >"/proc/$BASHPID/autogroup" || true
  chrt --idle 0 "$@"
}

over() {
  local name
  for name in "${!lanes[@]}"; do
    kill -- "-${lanes[$name]}" 2>/dev/null || true
    printf '\n--- %s, aborted\n' "$name"
    tail -n 40 "$PEERCAM_PARTS/$name.log"
  done
  [ -n "${outermost:-}" ] || return 0
  [ ! -s "$PEERCAM_PARTS/times" ] || printf '\nHow long each part took, of %d min %02d s:\n' $((SECONDS / 60)) $((SECONDS % 60))
  cat "$PEERCAM_PARTS/times"
  rm -rf "$PEERCAM_PARTS"
}
trap over EXIT
