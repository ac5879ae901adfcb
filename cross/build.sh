#!/usr/bin/env bash
# cross/build.sh TARGETS PROFILE build       builds target/TARGET/PROFILE/peercam for each target, with its debug symbols in
#                                            peercam.debug, and checks that it runs on Debian 11
# cross/build.sh TARGETS PROFILE test ARG... runs the unit tests; QEMU's user emulation runs those of foreign architectures.
#                                            ARG... are arguments of cargo and, after --, of the tests
#
# Does what `cross` does, but without a container: builds in a Bullseye root (cross/setup.sh), with this machine's Rust and
# without a network. Needs `tests/setup.sh cross`. TARGETS is one Rust target, or several in quotes. $PEERCAM_CROSS_TARGET is
# cargo's target directory (default: target/cross); if clones share it, dependencies are built only once.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
tree=$(dirname "$(dirname "$(realpath "$0")")")
read -ra targets <<<"$1"
profile=$2 task=$3
shift 3
newest_glibc=2.31 newest_glibcxx=3.4.28 # Bullseye's

PATH=$("$tree/tests/setup.sh" path):$PATH
root=$("$tree/tests/setup.sh" places | sed -n 's/^PEERCAM_CROSS=//p')
sysroot=$(rustc --print sysroot)
[ -d "$root" ] || { echo "the root for cross builds is missing: run tests/setup.sh cross" >&2; exit 1; }
# Not cargo's usual directory: build scripts in the root are linked to a different C library than those outside.
made=${PEERCAM_CROSS_TARGET:-$tree/target/cross}
mkdir -p "$made" "${CARGO_HOME:=$HOME/.cargo}"

inside() {
  bwrap --die-with-parent --unshare-net --unshare-pid --ro-bind "$root" / --dev /dev --proc /proc --tmpfs /tmp \
    --ro-bind "$tree" /project --ro-bind "$sysroot" /rust --bind "$CARGO_HOME" /cargo --bind "$made" /target --chdir /project \
    --clearenv --setenv PATH /rust/bin:/usr/bin:/bin --setenv HOME /tmp --setenv TERM "${TERM:-dumb}" \
    --setenv CARGO_HOME /cargo --setenv CARGO_TARGET_DIR /target "${settings[@]}" "$@"
}

# The newest version of the symbols named $2_VERSION that $1 needs.
needed() { inside readelf --version-info --wide "$1" | grep -o "\b$2_[0-9.]*" | sort -Vu | tail -n 1 | cut -d _ -f 2; }

at_most() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$2" ]; } # version $1 <= version $2

vectorised() { # checks that $1, built for target $2, contains the processor's vector code: some libraries silently fall back to C
  local symbol symbols have
  case $2 in
    aarch64-*) symbols='WelsSampleSad16x16_AArch64_neon silk_NSQ_noise_shape_feedback_loop_neon jsimd_idct_islow_neon aes.*autodetect' ;;
    armv7-*) symbols='WelsSampleSad16x16_neon silk_NSQ_noise_shape_feedback_loop_neon jsimd_idct_islow_neon' ;;
    x86_64-*) symbols='WelsSampleSad16x16_sse2 silk_NSQ_del_dec_avx2 jsimd_idct_islow_avx2 aes.*autodetect' ;;
  esac
  have=$(inside nm "$1")
  for symbol in $symbols; do
    grep -q "$symbol" <<<"$have" || { echo "$1 lacks $symbol" >&2; exit 1; }
  done
}

ship() { # separates program and debug symbols for target $1, prints their facts and checks them
  local file=/target/$1/$profile/peercam out=target/$1/$profile tools=
  case $1 in
    aarch64-*) tools=aarch64-linux-gnu- ;;
    armv7-*) tools=arm-linux-gnueabihf- ;;
  esac
  vectorised "$file" "$1"
  inside "${tools}objcopy" --only-keep-debug --compress-debug-sections "$file" "$file.debug"
  inside "${tools}objcopy" --strip-all --add-gnu-debuglink="$file.debug" "$file" "$file.stripped"
  mkdir -p "$tree/$out"
  cp "$made/$1/$profile/peercam.stripped" "$tree/$out/peercam"
  cp "$made/$1/$profile/peercam.debug" "$tree/$out/"

  local glibc glibcxx
  glibc=$(needed "$file" GLIBC) glibcxx=$(needed "$file" GLIBCXX)
  echo "$out/peercam: $(stat -c %s "$tree/$out/peercam") bytes, needs glibc $glibc and libstdc++ $glibcxx"
  at_most "$glibc" $newest_glibc && at_most "$glibcxx" $newest_glibcxx ||
    { echo "it needs newer libraries than Debian 11 has ($newest_glibc and $newest_glibcxx)" >&2; exit 1; }
}

(cd "$tree" && cargo fetch --locked --quiet --target x86_64-unknown-linux-gnu "${targets[@]/#/--target=}")
options=(--locked --offline --profile "$profile" "${targets[@]/#/--target=}")
# Symbols are only for peercam.debug; the shipped program has none, as Cargo.toml says.
settings=(--setenv "CARGO_PROFILE_${profile^^}_STRIP" none)
case $profile in
  release) settings+=(--setenv CARGO_PROFILE_RELEASE_DEBUG line-tables-only) ;;
  # The same features as unit tests, so that they and the daemon share their dependencies.
  board) options+=(--features tokio/test-util) ;;
esac
case $task in
  build)
    inside cargo build "${options[@]}" --bin peercam
    for target in "${targets[@]}"; do ship "$target"; done
    ;;
  test) inside cargo test "${options[@]}" --lib "$@" ;;
  *) echo "build or test, not $task" >&2; exit 2 ;;
esac
