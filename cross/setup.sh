#!/bin/sh
# cross/setup.sh ARCH...: makes the Debian 11 (Bullseye) around it build peercam for these of Debian's architectures:
# amd64, arm64, armhf. The one list of packages and settings for the Dockerfiles, by which `cross` builds, and for the
# root in which `make cross` does. Rust is not in it: both bring that of the machine that they run on.
set -eu
here=$(dirname "$(realpath "$0")")
export DEBIAN_FRONTEND=noninteractive

# The security suite is for what runs here: it has no armhf.
cat >/etc/apt/sources.list <<'EOF'
deb http://deb.debian.org/debian bullseye main
deb [arch=amd64] http://deb.debian.org/debian-security bullseye-security main
EOF
rm -rf /etc/apt/sources.list.d/*

# gcc builds what runs while building; libclang reads V4L2's headers for bindgen; nasm is for the codecs' vector code.
packages='cmake gcc libc6-dev libclang-dev make nasm pkg-config'
for arch in "$@"; do
  case $arch in
    amd64) packages="$packages g++ libasound2-dev" ;;
    *) packages="$packages crossbuild-essential-$arch qemu-user" ;;
  esac
  dpkg --add-architecture "$arch"
done
apt-get update -q
# shellcheck disable=SC2086 # a list of names
apt-get install -y -q --no-install-recommends $packages

# Foreign libraries are only unpacked: the C library they depend on is there with the cross compiler, and the same as a
# foreign package must have the version of our own, which an image with security updates has not.
cd "$(mktemp -d)"
for arch in "$@"; do
  [ "$arch" != amd64 ] || continue
  apt-get -o APT::Sandbox::User=root download -q "libasound2:$arch" "libasound2-dev:$arch"
done
for package in *.deb; do
  [ ! -e "$package" ] || dpkg --extract "$package" /
done
rm -rf "$PWD" /var/lib/apt/lists/* /var/cache/apt/archives/*.deb

# Cargo reads it for every project in this file system.
install -D -m 644 "$here/config.toml" /.cargo/config.toml
# What is bound into it: sources, Rust, its registry, and what it makes.
mkdir -p /project /rust /cargo /target
