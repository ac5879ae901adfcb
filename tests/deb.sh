#!/usr/bin/env bash
# Installs the package, upgrades it over an edited device.toml, removes and purges it, and checks the system after each step:
#   tests/deb.sh RELEASE...      of bullseye, bookworm, trixie; needs tests/setup.sh deb, its places, and root
# It uses freshly unpacked, bare systems of these releases, without a network and without a running systemd: half a minute each.
# It tests the newest target/debian/*_amd64.deb, or $DEB.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env "$0" "$@"

fail() { printf 'deb: %s: %s\n' "$release" "$*" >&2; exit 1; }
here() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
apt() { here apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "apt-get $*"; }; }
has() { here test "$@"; }
# All files and accounts, except what apt and dpkg write about themselves.
inventory() {
  (cd "$root" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./var/lib/dpkg \
    -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log \) -prune -o ! -name '*-' -print | sort
  cat etc/passwd etc/group etc/shadow etc/gshadow)
}

deb=${DEB:-$(ls -t target/debian/peercam_*_amd64.deb | head -n 1)}
work=$(mktemp -d /var/tmp/peercam-deb.XXXXXX)
mounted=
cleanup() { [ -z "$mounted" ] || umount "$root/proc"; rm -rf --one-file-system "$work"; }
trap cleanup EXIT

# The same package with a newer revision and a different device.toml: the case in which dpkg could ask or overwrite.
dpkg-deb --raw-extract "$deb" "$work/newer"
sed -i 's/^\(Version: .*\)$/\1.1/' "$work/newer/DEBIAN/control"
echo '# A newer one.' >>"$work/newer/etc/peercam/device.toml"
dpkg-deb --root-owner-group -Zgzip --build "$work/newer" "$work/newer.deb" >/dev/null

lintian --fail-on error,warning --tag-display-limit 0 --allow-root "$deb"

for release; do
  started=$SECONDS
  tar="PEERCAM_ROOT_$release"
  root=$work/$release
  mkdir "$root"
  tar -C "$root" -xf "${!tar:?run: env \$(tests/setup.sh places) tests/deb.sh $release}"
  mount -t proc proc "$root/proc" && mounted=yes
  cp "$deb" "$root/tmp/peercam.deb"
  cp "$work/newer.deb" "$root/tmp/newer.deb"
  inventory >"$work/before"

  apt install --no-install-recommends /tmp/peercam.deb
  here id peercam >"$work/id"
  for group in peercam video audio; do grep -q "($group)" "$work/id" || fail "not in group $group: $(cat "$work/id")"; done
  here peercam --version
  here setpriv --reuid peercam --regid peercam --init-groups peercam check --config-only
  has -L /etc/systemd/system/multi-user.target.wants/peercam.service || fail "the service is not enabled"
  # If these tools can check without a running system.
  if here systemd-analyze security --help 2>/dev/null | grep -q -e --offline; then
    told=$(here systemd-analyze verify --man=no /usr/lib/systemd/system/peercam.service 2>&1 | grep -v 'Unknown key' || true)
    [ -z "$told" ] || fail "the unit has problems: $told"
    here systemd-analyze security --offline=true --threshold=20 /usr/lib/systemd/system/peercam.service | tail -n 1
  fi
  if here udevadm verify --help >/dev/null 2>&1; then
    here udevadm verify /usr/lib/udev/rules.d/60-peercam.rules >/dev/null || fail "the udev rules have problems"
  fi

  here sed -i 's/^frame_rate = 30$/frame_rate = 25/' /etc/peercam/device.toml
  here mkdir -p /var/lib/peercam
  here touch /var/lib/peercam/state.json
  apt install --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold /tmp/newer.deb
  has -n "$(here grep -x 'frame_rate = 25' /etc/peercam/device.toml)" || fail "the upgrade lost the edited device.toml"

  apt remove peercam
  ! has -e /usr/bin/peercam || fail "remove leaves the program"
  has -e /etc/peercam/device.toml || fail "remove takes the configuration"
  has -e /var/lib/peercam/state.json || fail "remove takes the state"

  apt purge peercam
  inventory >"$work/after"
  diff "$work/before" "$work/after" || fail "purge leaves this behind"
  umount "$root/proc" && mounted=
  rm -rf --one-file-system "$root"
  printf 'deb: %s: installed, upgraded, removed, purged: %d s\n' "$release" $((SECONDS - started))
done
