#!/usr/bin/env bash
# Makes Debian packages of what `make cross` has built: systemd/deb.sh [TRIPLE...]; without any, of all three.
# They come to lie in target/debian/. PROFILE names another profile than release, REVISION another revision than 1.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
[ $# -gt 0 ] || set -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf

# Cargo.toml's `depends` is "as Debian 11 has it": that no binary needs newer ones is checked by `make cross`, and that it
# needs no other library here, by itself: so for every architecture, without that architecture's packages.
others() {
  LC_ALL=C readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vxE 'lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|asound)\.so\.[0-9]+|ld-linux.*'
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
grep -q "^peercam ($version-" systemd/debian/changelog ||
  { echo "deb: systemd/debian/changelog does not know version $version" >&2; exit 1; }

for triple; do
  binary=target/$triple/$profile/peercam
  [ -x "$binary" ] || { echo "deb: there is no $binary: \`make cross\` makes it" >&2; exit 1; }
  if others "$binary"; then echo "deb: $binary needs these: add their packages to Cargo.toml's \`depends\`" >&2; exit 1; fi
  mkdir -p target/debian
  systemd/debian/licences.py "$triple" | gzip -9n >target/debian/licences.gz
  "${PEERCAM_CARGO_DEB:-cargo-deb}" deb --quiet --locked --offline --no-build --no-strip --profile "$profile" \
    --target "$triple" --deb-revision "${REVISION:-1}"
done
