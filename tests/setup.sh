#!/usr/bin/env bash
# Installs what building, checking and testing peercam need, on Debian 12 or newer, with its package manager and the registries
# of cargo, npm and pip. If everything is installed already, this is quick and needs no network.
#
#   tests/setup.sh GROUP...     build: compilers and libraries        check: formatter, linter, cargo-deny
#                               browser: Chromium, Firefox, WebKit,   board: QEMU and the virtual board's image
#                                 Node                                net: tools for the tests' own networks
#                               peers: aiortc, FFmpeg, GStreamer,     deb: cargo-deb, lintian, Debian's releases
#                                 pion, coturn                        device: the same board with an arm64 processor
#                               cross: a Debian 11 root to build
#                                 for boards in
#   tests/setup.sh path         prints the directories to put in front of PATH, so that the right cargo is found
#   tests/setup.sh cache        prints the cache directory
#
# What is fetched or built outside the package manager is kept below $PEERCAM_CACHE (default: ~/.cache/peercam). Its name has a
# digest of its recipe, so clones share it, and it is rebuilt when its recipe changes.
set -euo pipefail
tests=$(dirname "$(realpath "$0")")
root=$(dirname "$tests")
cache=${PEERCAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/peercam}
export DEBIAN_FRONTEND=noninteractive

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

say() { printf 'setup: %s\n' "$*" >&2; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

lists_are_fresh=
update_lists() {
  [ -n "$lists_are_fresh" ] || as_root apt-get update -qq
  lists_are_fresh=1
}

packages() { # installs the named packages that are missing
  local missing=() p
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  update_lists
  as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

candidate() { # version of package $1 that apt would install; empty if there is none
  apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" {print $2}'
}

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # version $1 >= version $2

digest() { cat "$@" | sha256sum | cut -c 1-16; } # of files

# made NAME COMMAND...: creates the directory $cache/NAME, unless it exists, by COMMAND with a directory as its last argument. A
# rename makes the result appear complete, so an interrupted run leaves nothing half-made behind. A lock keeps two runs from
# making it twice.
made() {
  local target=$cache/$1
  shift
  mkdir -p "$cache"
  [ -e "$target" ] && return 0
  exec 9>"$cache/.lock"
  flock 9
  if [ ! -e "$target" ]; then
    say "making $target"
    rm -rf "$target.new"
    "$@" "$target.new"
    mv "$target.new" "$target"
  fi
  exec 9>&-
}

# --- Rust

rust_wanted() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml"; }

# Directories that may hold a cargo besides those of PATH: rustup's own, and that of Debian's rustup package.
rust_places() { printf '%s' "$HOME/.cargo/bin"; }

rust_version() { PATH=$(rust_places):$PATH cargo --version 2>/dev/null | cut -d ' ' -f 2 | cut -d - -f 1; }

rust() {
  local wanted have p version
  wanted=$(rust_wanted)
  have=$(rust_version || true)
  if [ -n "$have" ] && at_least "$have" "$wanted"; then return 0; fi
  say "Rust $wanted or newer is needed; installed: ${have:-none}"
  update_lists
  # Debian builds newer compilers for its browsers: rustc-web.
  for p in "" -web; do
    version=$(candidate "rustc$p")
    if [ -n "$version" ] && at_least "$version" "$wanted"; then
      say "installing Debian's rustc$p $version"
      packages "rustc$p" "cargo$p"
      return 0
    fi
  done
  if [ -n "$(candidate rustup)" ]; then
    say "Debian's Rust is too old: installing rustup and its stable toolchain"
    packages rustup
    rustup toolchain install stable --profile minimal
    rustup default stable
    return 0
  fi
  say "no package of this system has Rust $wanted: install it from https://rustup.rs and start again"
  return 1
}

build() {
  # libclang: for bindgen and V4L2's headers; cmake: for libopus and libjpeg-turbo; nasm: for their and OpenH264's vector code.
  packages build-essential pkg-config cmake nasm clang libclang-dev libasound2-dev ca-certificates curl
  rust
}

# --- Formatter, linter, licences

deny_version=0.20.2

check() {
  build
  local p
  PATH=$(rust_places):$PATH
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    if command -v rustup >/dev/null; then
      rustup component add rustfmt clippy
    elif installed rustc-web; then
      packages rustfmt-web rust-web-clippy
    else
      packages rustfmt rust-clippy
    fi
  fi
  packages codespell
  oldest
  made "cargo-deny-$deny_version" cargo_deny
}

oldest() { # the oldest Rust that Cargo.toml promises, where rustup can provide it
  local wanted
  wanted=$(rust_wanted)
  command -v rustup >/dev/null || return 0
  rustup run "$wanted" rustc --version >/dev/null 2>&1 || rustup toolchain install "$wanted" --profile minimal ||
    say "rustup can't provide Rust $wanted"
}

cargo_deny() { # without optimisation, which would double the build time of a program that runs for a second
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_STRIP=true \
    CARGO_TARGET_DIR=$1/target \
    cargo install --quiet --locked --no-default-features --version "$deny_version" --root "$1" cargo-deny
  rm -rf "$1/target"
}

# --- Packages

deb_version=3.8.0

deb() {
  build
  packages binutils python3 mmdebstrap debian-archive-keyring lintian
  PATH=$(rust_places):$PATH
  made "cargo-deb-$deb_version" cargo_deb
  local release
  for release in ${PEERCAM_RELEASES:-bookworm}; do made "$(release_name "$release")" release_root "$release"; done
}

cargo_deb() { # the same as cargo_deny; with its own liblzma
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_STRIP=true \
    CARGO_TARGET_DIR=$1/target \
    cargo install --quiet --locked --no-default-features --features static-lzma --version "$deb_version" --root "$1" cargo-deb
  rm -rf "$1/target"
}

# Bare systems to install the package in, with its dependencies, so that no test needs the network; bookworm without systemd, like
# a container.
release_packages() {
  case $1 in
    bookworm) echo libasound2,libstdc++6,adduser ;;
    bullseye) echo libasound2,libstdc++6,adduser,systemd,udev ;;
    *) echo libasound2t64,libstdc++6,adduser,systemd,udev ;;
  esac
}

release_name() { echo "release-$1-$(release_packages "$1" | sha256sum | cut -c 1-8)"; }

release_root() {
  mkdir -p "$2"
  as_root mmdebstrap --quiet --variant=minbase --include="$(release_packages "$1")" "$1" "$2/root.tar"
  as_root chown "$(id -u):$(id -g)" "$2/root.tar"
}

# --- Boards

cross_name() { echo "cross-$(digest "$root"/cross/{setup.sh,config.toml})"; }

cross() {
  build
  packages mmdebstrap debian-archive-keyring bubblewrap
  made "$(cross_name)" cross_root
  local target
  PATH=$(rust_places):$PATH
  for target in aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf; do
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then continue; fi
    # Debian's own Rust needs a newer C library than the root has, and has no target for 32-bit ARM.
    command -v rustup >/dev/null || { say "building for boards needs Rust from rustup: https://rustup.rs"; return 1; }
    rustup target add "$target"
  done
}

cross_root() {
  as_root mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook="mkdir \"\$1/opt/cross\" && cp '$root'/cross/setup.sh '$root'/cross/config.toml \"\$1/opt/cross/\"" \
    --customize-hook='chroot "$1" /opt/cross/setup.sh amd64 arm64 armhf' bullseye "$1" >&2
}

# --- Tests

net() {
  packages iproute2 util-linux nftables
  made "$(nginx_name)" nginx
  # shellcheck disable=SC2046 # a list of names
  packages $(cat "$cache/$(nginx_name)/needs")
}

nginx_name() { (. /etc/os-release && echo "nginx-$VERSION_CODENAME"); }

nginx() { # only unpacked, like coturn
  unpacked nginx "$1"
}

browser() {
  packages chromium firefox-esr webkit2gtk-driver xvfb xauth dbus-daemon fonts-dejavu-core pulseaudio
  # Firefox decodes H.264 with the system's libavcodec, which it only recommends.
  if ! dpkg-query -W -f='${db:Status-Status} ' 'libavcodec[0-9]*' 2>/dev/null | grep -qw installed; then
    update_lists
    local v
    for v in 61 60 59; do
      [ -z "$(candidate libavcodec$v)" ] || { packages libavcodec$v; break; }
    done
  fi
  node_itself
  made "node-$(digest "$tests"/browser/package{,-lock}.json)" node_modules
  rm -rf "$tests/browser/node_modules"
  ln -s "$cache/node-$(digest "$tests"/browser/package{,-lock}.json)/node_modules" "$tests/browser/node_modules"
}

node_itself() {
  local have
  have=$(node --version 2>/dev/null | sed 's/^v//' || true)
  if [ -z "$have" ] || ! at_least "$have" 18 || ! command -v npm >/dev/null; then packages nodejs npm; fi
}

node_modules() {
  mkdir -p "$1"
  cp "$tests"/browser/{package.json,package-lock.json,.npmrc} "$1/"
  # The drivers are plain JavaScript: no package needs to run or download anything at its installation.
  npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
}

board() {
  packages qemu-system-x86 qemu-system-common qemu-system-data seabios mmdebstrap debian-archive-keyring \
    cpio kmod xz-utils zstd e2fsprogs iproute2 python3
  made "$(board_name amd64)" board_image amd64
}

device() {
  board
  packages qemu-system-arm qemu-user-static arch-test
  if [ ! -e "$cache/$(board_name arm64)" ]; then
    arm64_programs
    made "$(board_name arm64)" board_image arm64
  fi
}

board_name() {
  echo "board-$1-$(. /etc/os-release && echo "$VERSION_CODENAME")-$(digest "$tests"/board/{board.sh,guest,guest_init,guest.service,extract_vmlinux.py})"
}

board_image() {
  as_root "$tests/board/board.sh" build "$2" "$1"
  as_root chown -R "$(id -u):$(id -g)" "$2"
}

arm64_programs() { # makes the kernel run them with QEMU. Debian's packages do this, except in containers and minimal systems
  local formats=/proc/sys/fs/binfmt_misc
  [ -e $formats/register ] || as_root mount -t binfmt_misc binfmt_misc $formats
  [ -e $formats/qemu-aarch64 ] || as_root sh -c "cat >$formats/register" <<'F'
:qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OCF
F
}

peers() {
  packages ffmpeg python3 python3-venv python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0 \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice gstreamer1.0-libav \
    golang-go golang-github-pion-webrtc.v3-dev
  made "aiortc-$(digest "$tests/peers/requirements.txt")" aiortc
  made "pion-$(digest "$tests"/peers/pion/*)" pion
  made "$(coturn_name)" coturn
  # shellcheck disable=SC2046 # a list of names
  packages $(cat "$cache/$(coturn_name)/needs")
}

coturn_name() { (. /etc/os-release && echo "coturn-$VERSION_CODENAME"); }

coturn() {
  # Only unpacked: installing it would start a TURN server on this machine, now and at every boot.
  unpacked coturn "$1"
}

unpacked() { # unpacks package $1 into directory $2; its file "needs" lists the libraries that the package depends on
  update_lists
  mkdir -p "$2"
  (cd "$2" && apt-get -o APT::Sandbox::User=root download -qq "$1" && dpkg -x "$1"_*.deb . && rm "$1"_*.deb)
  apt-cache depends --important "$1" | awk '$1 == "Depends:" && $2 ~ /^lib/ {print $2}' >"$2/needs"
}

aiortc() {
  # The interpreter finds its packages relative to its own path, so the directory can be renamed afterwards.
  /usr/bin/python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$tests/peers/requirements.txt"
}

pion() {
  # Debian packages contain the sources of Go libraries, for building without modules and network.
  mkdir -p "$1/src/pion"
  cp "$tests"/peers/pion/* "$1/src/pion/"
  (cd "$1/src/pion" && GOTOOLCHAIN=local GOFLAGS='' GO111MODULE=off GOCACHE=$1/cache GOPATH=$1:/usr/share/gocode /usr/bin/go build -o "$1/pion" .)
  rm -rf "$1/cache"
}

# --- For the tests

# Prints NAME=PATH for everything made above, for the test binary.
places() {
  echo "PEERCAM_BOARD=$cache/$(board_name amd64)"
  echo "PEERCAM_BOARD_ARM64=$cache/$(board_name arm64)"
  echo "PEERCAM_AIORTC=$cache/aiortc-$(digest "$tests/peers/requirements.txt")/bin/python"
  echo "PEERCAM_PION=$cache/pion-$(digest "$tests"/peers/pion/*)/pion"
  echo "PEERCAM_NGINX=$cache/$(nginx_name)/usr/sbin/nginx"
  echo "PEERCAM_TURN=$cache/$(coturn_name)/usr/bin/turnserver"
  echo "PEERCAM_CROSS=$cache/$(cross_name)"
  echo "PEERCAM_OLDEST_RUST=$(rust_wanted)"
  echo "PEERCAM_DENY=$cache/cargo-deny-$deny_version/bin/cargo-deny"
  echo "PEERCAM_CARGO_DEB=$cache/cargo-deb-$deb_version/bin/cargo-deb"
  local release
  for release in bullseye bookworm trixie; do
    echo "PEERCAM_ROOT_$release=$cache/$(release_name "$release")/root.tar"
  done
}

[ $# -gt 0 ] || set -- help
for group in "$@"; do
  case $group in
    build | check | cross | deb | net | browser | board | device | peers | places) "$group" ;;
    path) rust_places ;;
    cache) printf '%s' "$cache" ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
  esac
done
