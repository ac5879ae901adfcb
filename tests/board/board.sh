#!/usr/bin/env bash
# A virtual board with the kernel's real V4L2, ALSA and UVC drivers, without hardware and without KVM (QEMU's TCG).
#
#   board.sh build DIR [ARCH]    builds DIR: kernel, initramfs and root file system of this host's Debian release, so that a
#                         program built here runs there; ARCH is amd64 (the default) or arm64. Run it as root; it needs the
#                         packages of `tests/setup.sh board`, or `tests/setup.sh device` for arm64.
#   board.sh run DIR SHARE    boots it with the folder SHARE shared as /host, until QEMU is killed. See `guest` for sending
#                         it requests. The console goes to SHARE/console. Its disk keeps its contents over reboots, but
#                         not after the end of QEMU.
#
# Environment of run: INIT=guest_init or systemd, as PID 1; TAP=interface (the guest's eth0 is 10.77.0.2/24, the host's side
# must be 10.77.0.1), MODS=vivid,snd-aloop (modules loaded at boot), SMP=2, MEM=1024 (MiB).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# alsa-utils and v4l-utils depend on libasound and libv4l; the daemon's codecs also need libstdc++6. busybox-static is for
# the initramfs.
guest_packages=bash,coreutils,procps,kmod,iproute2,python3-minimal,v4l-utils,alsa-utils,libstdc++6,systemd-sysv,udev,adduser,busybox-static

build() {
  local dir=$1 arch=$2 release version
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir -p "$dir"
  cd "$dir"
  rm -rf kernel root
  mkdir kernel
  # The options apply to the build only: packages installed on the board later keep their documentation. The kernel is
  # fetched by the apt of the new root, which knows that architecture, and never installed: only some of it is needed.
  # shellcheck disable=SC2016 # $1 and the rest are the hook's
  mmdebstrap --quiet --variant=minbase --arch="$arch" --include="$guest_packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
    --customize-hook="cd $PWD/kernel; export APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG
      image=\$(apt-cache depends linux-image-$arch | awk '/Depends: linux-image-/ {print \$2; exit}')
      apt-get -o APT::Sandbox::User=root download -qq \$image && dpkg -x \$image*.deb . && rm ./*.deb" \
    "$release" root
  version=$(basename kernel/boot/vmlinuz-* | cut -d - -f 2-)
  depmod -b kernel "$version"
  case $arch in
    amd64) /usr/bin/python3 "$here/extract_vmlinux.py" kernel/boot/vmlinuz-"$version" linux ;;
    *) cp kernel/boot/vmlinuz-"$version" linux ;;
  esac

  # Only the drivers that a board may need: the whole tree is 400 MB.
  local modules=$PWD/root/lib/modules/$version
  mkdir -p "$modules/kernel"
  cp kernel/lib/modules/"$version"/modules.{builtin,builtin.modinfo,order} "$modules/" 2>/dev/null || true
  (cd kernel/lib/modules/"$version"/kernel &&
    cp -a --parents fs/9p fs/netfs fs/ext4 fs/jbd2 fs/mbcache* fs/fscache fs/autofs net/9p lib crypto arch drivers/media drivers/virtio \
      drivers/block/virtio* drivers/net/virtio* drivers/net/net_failover* net/core/failover* drivers/usb drivers/cec drivers/char sound net/sched \
      drivers/input drivers/hid drivers/video "$modules/kernel/" 2>/dev/null) || true
  rm -rf "$modules"/kernel/arch/*/kvm
  depmod -b root "$version"
  install -m 755 "$here"/guest "$here"/guest_init root/usr/sbin/
  # For systemd as PID 1: the board does what it is asked, and nothing by itself.
  mkdir -p root/etc/systemd/system/multi-user.target.wants
  install -m 644 "$here/guest.service" root/etc/systemd/system/
  ln -s ../guest.service root/etc/systemd/system/multi-user.target.wants/
  ln -s multi-user.target root/etc/systemd/system/default.target
  local unit
  for unit in getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-logind.service systemd-update-utmp{,-runlevel}.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount dev-{hugepages,mqueue}.mount sys-kernel-{debug,tracing,config}.mount \
    sys-fs-fuse-connections.mount alsa-{restore,state}.service; do
    ln -sf /dev/null root/etc/systemd/system/$unit
  done
  # Not the very first boot, which would enable all units again.
  echo 70656572636170706565726361707065 >root/etc/machine-id
  echo board >root/etc/hostname
  echo '127.0.0.1 localhost board' >root/etc/hosts
  truncate -s 2G root.ext4
  mke2fs -q -F -t ext4 -O ^has_journal -d root root.ext4
  initramfs "$version"
  echo "$arch" >arch
  rm -rf root kernel
}

initramfs() { # the root disk's own drivers are modules, so these must come first
  local version=$1 w
  w=$(mktemp -d)
  mkdir -p "$w"/{bin,proc,sys,dev,newroot,mod}
  cp root/bin/busybox "$w/bin/"
  for a in sh cat mount umount switch_root insmod sleep; do ln -s busybox "$w/bin/$a"; done
  # It is not an error if a newer kernel has a module built in, or no longer has it.
  for m in virtio_pci virtio_blk ext4 crc32c_generic; do modprobe -d "$PWD/root" -S "$version" --show-depends "$m" || true; done 2>/dev/null |
    awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r f; do
      local b
      b=$(basename "$f" .xz)
      case $f in *.xz) xz -dc "$f" >"$w/mod/$b" ;; *) cp "$f" "$w/mod/$b" ;; esac
      echo "$b" >>"$w/mod/order"
    done
  cat >"$w/init" <<'I'
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read m; do insmod /mod/$m; done < /mod/order
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done
for w in $(cat /proc/cmdline); do case $w in guest.init=*) init=${w#guest.init=} ;; esac; done
mount -o rw,noatime /dev/vda /newroot && mount --move /dev /newroot/dev && umount /sys && umount /proc
exec switch_root /newroot $init
I
  chmod +x "$w/init"
  (cd "$w" && find . | cpio -o -H newc --quiet) >initramfs.cpio
  rm -rf "$w"
}

run() {
  local dir=$1 share=$2 init machine append net=()
  mkdir -p "$share"
  if [ -n "${TAP:-}" ]; then
    net=(-netdev "tap,id=n0,ifname=$TAP,script=no,downscript=no" -device "virtio-net-pci,netdev=n0,romfile=")
  fi
  case ${INIT:-guest_init} in
    systemd) init=/lib/systemd/systemd ;;
    *) init=/usr/sbin/guest_init ;;
  esac
  case $(cat "$dir/arch") in
    amd64)
      # Without the vector instructions that are slowest to emulate: with them Opus takes 30 ms for 20 ms of sound.
      machine=(qemu-system-x86_64 -M q35 -accel tcg -cpu max,-avx,-avx2,-fma)
      append="console=ttyS0 mitigations=off no_timer_check"
      ;;
    arm64)
      # A Raspberry Pi 4's core. One thread of this machine for each core of the board.
      machine=(qemu-system-aarch64 -M "virt,gic-version=3" -accel tcg,thread=multi -cpu cortex-a72)
      append="console=ttyAMA0"
      ;;
  esac
  # exec: ending this process ends QEMU itself. snapshot=on: the image is not changed.
  exec "${machine[@]}" -smp "${SMP:-2}" -m "${MEM:-1024}" \
    -nodefaults -no-user-config -display none -serial "file:$share/console" \
    -kernel "$dir/linux" -initrd "$dir/initramfs.cpio" \
    -append "$append quiet nokaslr net.ifnames=0 guest.init=$init guest.modules=${MODS-vivid,snd-aloop}" \
    -drive "file=$dir/root.ext4,if=none,id=d0,format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=d0 \
    -virtfs "local,path=$share,mount_tag=host,security_model=none,multidevs=remap" \
    -device virtio-rng-pci "${net[@]}" </dev/null
}

case ${1:-} in
  build) build "$(realpath -m "${2:?a folder to build in}")" "${3:-amd64}" ;;
  run) run "$(realpath "${2:?the folder of build}")" "$(realpath -m "${3:?a folder to share}")" ;;
  *) echo "usage: board.sh build DIR [ARCH] | board.sh run DIR SHARE" >&2; exit 2 ;;
esac
