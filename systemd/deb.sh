#!/usr/bin/env bash
# Makes Debian packages of what `make cross` has built: systemd/deb.sh [TRIPLE...]; without any, of all three.
# They come to lie in target/debian/. PROFILE names another profile than release, REVISION another revision than 1.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
[ $# -gt 0 ] || set -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf

# Cargo.toml's `depends` says "as Debian 11 has it". Whether binary $1 is content with that is read from itself: which
# libraries it names, and the newest version of each one's symbols. So it works for all architectures everywhere.
content() {
  local library fine=true
  while read -r library; do
    case $library in
      libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1 | ld-linux*) at_most "$1" GLIBC_ 2.31 ;;
      libstdc++.so.6) at_most "$1" GLIBCXX_ 3.4.28 ;;
      libgcc_s.so.1) at_most "$1" GCC_ 7.0.0 ;;
      libasound.so.2) at_most "$1" ALSA_ 0.9.0 ;;
      *) echo "deb: $1 needs $library, which Cargo.toml's \`depends\` has no package for" >&2; false ;;
    esac || fine=false
  done < <(LC_ALL=C readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  $fine
}

at_most() { # binary $1 needs no newer version of the symbols $2 than $3
  local newest
  newest=$(LC_ALL=C readelf -VW "$1" | grep -o "Name: $2[0-9.]*" | sed "s/Name: $2//" | sort -V | tail -n 1)
  [ "$(printf '%s\n' "$newest" "$3" | sort -V | tail -n 1)" = "$3" ] && return
  echo "deb: $1 needs $2$newest, and Debian 11 has $2$3" >&2
  return 1
}

for triple; do
  binary=target/$triple/$profile/peercam
  [ -x "$binary" ] || { echo "deb: there is no $binary: \`make cross\` makes it" >&2; exit 1; }
  content "$binary"
  mkdir -p target/debian
  systemd/debian/licences.py "$triple" | gzip -9n >target/debian/licences.gz
  "${PEERCAM_CARGO_DEB:-cargo-deb}" deb --quiet --locked --offline --no-build --no-strip --profile "$profile" \
    --target "$triple" --deb-revision "${REVISION:-1}"
done
