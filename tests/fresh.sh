#!/usr/bin/env bash
# Checks the README's two commands on a bare machine: makes a bare root of the host's Debian release, copies the committed tree
# there, runs `make run` until the daemon listens and answers, then `make test`, and prints how long each took.
# From the host it takes only the network settings: resolver, proxies, certificates, and settings of package clients.
# Needs root. KEEP=1 keeps the root, FRESH_ROOT=DIR continues in one that was kept, FRESH_DIR is where it is made (15 GB).
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env "$0" "$@"

if [ "${1:-}" != inside ]; then
  tests/setup.sh board # for mmdebstrap
  root=${FRESH_ROOT:-$(mktemp -d "${FRESH_DIR:-/var/tmp}/peercam-fresh.XXXXXX")}
  chmod 755 "$root"
  # Everything started in there, and every mount, ends with this process; only then is the root removed.
  trap '[ -n "${KEEP:-}" ] && echo "kept: $root" || rm -rf --one-file-system "$root"' EXIT
  unshare --mount-proc --propagation private --pid --fork --kill-child tests/fresh.sh inside "$root"
  exit
fi

root=$2
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
started=$SECONDS
took() { printf '%-44s %4d s\n' "$1" $((SECONDS - started)) | tee -a "$root/times"; started=$SECONDS; }

[ -e "$root/etc/debian_version" ] || mmdebstrap --quiet --variant=minbase --include=make,ca-certificates "$release" "$root"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
for f in /etc/apt/apt.conf.d/*; do
  if grep -q Acquire "$f"; then cp "$f" "$root/etc/apt/apt.conf.d/"; fi
done
carried=()
for name in $(compgen -e); do
  case $name in
    *_proxy | *_PROXY | SSL_CERT_* | *CA_BUNDLE* | *CA_CERTS* | *CAINFO | PIP_* | CARGO_REGISTR* | CARGO_HTTP* | npm_config_*)
      carried+=("$name=${!name}")
      [ ! -f "${!name}" ] || cp -L --parents "${!name}" "$root/"
      ;;
  esac
done
for f in "$HOME/.npmrc" "$HOME/.cargo/config.toml" "$HOME/.config/pip" /etc/pip.conf /etc/npmrc; do
  if [ -e "$f" ]; then cp -aL --parents "$f" "$root/"; fi
done
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
  cp -a /usr/local/share/ca-certificates "$root/usr/local/share/"
  chroot "$root" update-ca-certificates >/dev/null
fi
mkdir -p "$root/peercam"
git archive HEAD | tar -x -C "$root/peercam"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
took "bare Debian root ($release)"

there() { env -i "HOME=$HOME" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${carried[@]}" chroot "$root" "$@"; }

log=$root/peercam/run.log
there make -C /peercam run >"$log" 2>&1 &
run=$!
port=
while [ -z "$port" ]; do
  kill -0 $run 2>/dev/null || { tail -n 50 "$log" >&2; echo "make run ended by itself" >&2; exit 1; }
  sleep 1
  port=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | sed -n 's/.*listening on https:.*:\([0-9]\{1,\}\).*/\1/p' | head -n 1)
done
took "make run: from nothing to listening"
grep -aE 'setup:|Finished|camera|microphone|listening|pairing' "$log" || true
# What the daemon answers before it has an owner; the certificate is checked against the device's own authority.
there curl --silent --show-error --fail --max-time 10 --cacert /var/lib/peercam/ca.pem "https://localhost:$port/api/session"
# make is the daemon's parent; the daemon gets the signal, as from Ctrl-C.
kill -INT "$(pgrep -x peercam)"
wait $run || { status=$?; [ $status = 130 ] || [ $status = 2 ] || { tail "$log" >&2; echo "make run ended with $status" >&2; exit 1; }; }
took "make run: stopped"

there make -C /peercam test 2>&1 | tee "$root/peercam/test.log" | grep --line-buffered -aE '^test |^setup:|test result|Finished|^# (tests|pass|fail)|panicked|error' || {
  tail -n 100 "$root/peercam/test.log" >&2
  echo "make test failed" >&2
  exit 1
}
took "make test: from nothing to done"
echo
cat "$root/times"
