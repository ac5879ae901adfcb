#!/usr/bin/env bash
# A virtual board with the kernel's real V4L2, ALSA and UVC drivers, without hardware and without KVM (x86-64, QEMU TCG).
#
#   board.sh build DIR    makes DIR: kernel, initramfs and root file system of this host's own Debian release, so that a
#                         program built here runs there (as root; needs the packages of `tests/setup.sh board`)
#   board.sh run DIR SHARE    boots it with the folder SHARE shared as /host, until /host/in/stop exists or QEMU is killed.
#                         guest_init says how to have it do things. The console goes to SHARE/console.
#
# Environment of run: TAP=interface (the guest's eth0 is 10.77.0.2/24, the host's side is to be 10.77.0.1),
# MODS=vivid,snd-aloop (modules loaded at boot), SMP=2, MEM=1024 (MiB).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# alsa-utils and v4l-utils bring libasound and libv4l; libstdc++6 is what the daemon's codecs need besides.
guest_packages=bash,coreutils,procps,kmod,iproute2,python3-minimal,v4l-utils,alsa-utils,libstdc++6,ca-certificates

build() {
  local dir=$1 release image version
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir -p "$dir"
  cd "$dir"
  image=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
  version=${image#linux-image-}
  rm -rf deb kernel root
  mkdir deb
  (cd deb && apt-get -o APT::Sandbox::User=root download -qq "$image")
  dpkg -x deb/"$image"_*.deb kernel
  rm -rf deb
  depmod -b kernel "$version"
  /usr/bin/python3 "$here/extract_vmlinux.py" kernel/boot/vmlinuz-"$version" vmlinux

  mmdebstrap --quiet --variant=minbase --include="$guest_packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' "$release" root.tar
  mkdir root
  tar -C root -xf root.tar
  rm root.tar
  # Only the drivers that a board may need: the whole tree is 400 MB.
  local modules=root/lib/modules/$version
  mkdir -p "$modules/kernel"
  cp kernel/lib/modules/"$version"/modules.{builtin,builtin.modinfo,order} "$modules/" 2>/dev/null || true
  (cd kernel/lib/modules/"$version"/kernel &&
    cp -a --parents fs/9p fs/netfs fs/ext4 fs/jbd2 fs/mbcache* fs/fscache net/9p lib crypto arch drivers/media drivers/virtio \
      drivers/block/virtio* drivers/net/virtio* drivers/net/net_failover* net/core/failover* drivers/usb drivers/cec drivers/char sound net/sched \
      drivers/input drivers/hid drivers/video "$OLDPWD/$modules/kernel/" 2>/dev/null) || true
  depmod -b root "$version"
  install -m 755 "$here/guest_init" root/usr/sbin/guest_init
  truncate -s 2G root.ext4
  mke2fs -q -F -t ext4 -O ^has_journal -d root root.ext4
  initramfs "$version"
  rm -rf root kernel
}

initramfs() { # the root disk's own drivers are modules, so these must come first
  local version=$1 w
  w=$(mktemp -d)
  mkdir -p "$w"/{bin,proc,sys,dev,newroot,mod}
  cp /bin/busybox "$w/bin/"
  for a in sh mount umount switch_root insmod sleep; do ln -s busybox "$w/bin/$a"; done
  # A module that a newer kernel builds in, or no longer has, is no error.
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
mount -o rw,noatime /dev/vda /newroot && mount --move /dev /newroot/dev && umount /sys && umount /proc
exec switch_root /newroot /usr/sbin/guest_init
I
  chmod +x "$w/init"
  (cd "$w" && find . | cpio -o -H newc --quiet) >initramfs.cpio
  rm -rf "$w"
}

run() {
  local dir=$1 share=$2 net=()
  mkdir -p "$share"
  if [ -n "${TAP:-}" ]; then
    net=(-netdev "tap,id=n0,ifname=$TAP,script=no,downscript=no" -device "virtio-net-pci,netdev=n0,romfile=")
  fi
  # exec: whoever started this script ends QEMU itself by ending this process. snapshot=on: the image stays as built.
  exec qemu-system-x86_64 -M q35 -accel tcg -cpu max -smp "${SMP:-2}" -m "${MEM:-1024}" \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$share/console" \
    -kernel "$dir/vmlinux" -initrd "$dir/initramfs.cpio" \
    -append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check guest.modules=${MODS-vivid,snd-aloop}" \
    -drive "file=$dir/root.ext4,if=none,id=d0,format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=d0 \
    -virtfs "local,path=$share,mount_tag=host,security_model=none,multidevs=remap" \
    -device virtio-rng-pci "${net[@]}" </dev/null
}

case ${1:-} in
  build) build "$(realpath -m "${2:?a folder to build in}")" ;;
  run) run "$(realpath "${2:?the folder of build}")" "$(realpath -m "${3:?a folder to share}")" ;;
  *) echo "usage: board.sh build DIR | board.sh run DIR SHARE" >&2; exit 2 ;;
esac
