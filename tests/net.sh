#!/usr/bin/env bash
# tests/net.sh COMMAND...: runs COMMAND in its own network, with loopback, one interface that has an address, and a default route
# (without one, browsers gather no candidates), but without access to the outside. Everything that it leaves behind, such as a
# board's tap interface, disappears with its last process. Root is not needed if the kernel lets users create
# namespaces.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if [ "${PEERCAM_TEST_NET:-}" != made ]; then
  user=()
  [ "$(id -u)" = 0 ] || user=(--map-root-user)
  PEERCAM_TEST_NET=made exec unshare "${user[@]}" --net "$0" "$@"
fi
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 10.77.9.1/24 dev v0
ip link set v1 up
ip link set v0 up
ip route add default dev v0
# IPv6 link-local addresses become usable a second or two later, and Chromium drops its requests at any such change.
for _ in $(seq 50); do
  [ -n "$(ip -6 addr show tentative)" ] || break
  sleep 0.1
done
exec "$@"
