#!/usr/bin/env bash
# Makes Debian packages in target/debian/ from what `make cross` has built: systemd/deb.sh [TRIPLE...]. Without a triple
# it makes all three. PROFILE sets the cargo profile (default: release), REVISION the package revision (default: 1).
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
[ $# -gt 0 ] || set -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf

# `depends` in Cargo.toml names the versions of Debian 11. `make cross` checks that no binary needs newer versions. This
# function lists the libraries that a binary needs besides those. It works for every architecture, without that
# architecture's packages.
others() {
  LC_ALL=C readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vxE 'lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|asound)\.so\.[0-9]+|ld-linux.*'
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
grep -q "^peercam ($version-" systemd/debian/changelog ||
  { echo "deb: systemd/debian/changelog has no entry for version $version" >&2; exit 1; }

for triple; do
  binary=target/$triple/$profile/peercam
  [ -x "$binary" ] || { echo "deb: $binary does not exist: run \`make cross\`" >&2; exit 1; }
  if others "$binary"; then echo "deb: $binary needs these libraries: add their packages to \`depends\` in Cargo.toml" >&2; exit 1; fi
  mkdir -p target/debian
  systemd/debian/licences.py "$triple" | gzip -9n >target/debian/licences.gz
  "${PEERCAM_CARGO_DEB:-cargo-deb}" deb --quiet --locked --offline --no-build --no-strip --profile "$profile" \
    --target "$triple" --deb-revision "${REVISION:-1}"
done
