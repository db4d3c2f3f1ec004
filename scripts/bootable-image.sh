#!/usr/bin/env bash
# Build a small bootable image (qcow2, about 12 MB, amd64) from Debian packages, for machines that cannot reach CirrOS.
# Usage: bootable-image.sh TARGET.qcow2
#
#   master boot record   syslinux's mbr.bin
#   partition 1, FAT     ldlinux.sys, syslinux.cfg
#                        vmlinuz     of linux-image-cloud-amd64
#                        initrd.gz   static busybox and /init: a banner, then a shell on the serial console
#
# Root is needed only to install the tools that are missing; kernel and busybox are unpacked into a scratch folder.
set -euo pipefail

target=$(realpath -m "${1:?Usage: bootable-image.sh TARGET.qcow2}")
here=$(cd "$(dirname "$0")" && pwd)
sector=512
first_sector=2048 # 1 MiB, where partitions begin by convention
disk_mib=32
banner='image-service test image: ready'

"$here/apt-install.sh" cpio fdisk mtools qemu-utils syslinux syslinux-common
PATH=$PATH:/usr/sbin:/sbin # sfdisk is not on an ordinary user's path

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/apt/partial" "$scratch/root" "$scratch/initrd"/{bin,dev,proc,sys}
cd "$scratch"

# Package lists of our own: apt-get then works without root, and the machine's lists stay as they are.
private=(-o "Dir::State::Lists=$scratch/apt" -o "Dir::Cache=$scratch/apt" -o "APT::Sandbox::User=" -qq)
apt-get "${private[@]}" update
kernel=$(apt-cache "${private[@]}" depends --important linux-image-cloud-amd64 |
  sed -n 's/.*Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1)
apt-get "${private[@]}" download "$kernel" busybox-static
for package in ./*.deb; do dpkg-deb --extract "$package" root; done

cp root/bin/busybox initrd/bin/busybox
cat >initrd/init <<EOF
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=linux
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
hostname test-image
echo
echo '$banner'
exec setsid cttyhack sh
EOF
chmod 0755 initrd/init
(cd initrd && find . | LC_ALL=C sort | cpio --quiet --create --format=newc --owner=0:0 | gzip -9 >../initrd.gz)
cat >syslinux.cfg <<EOF
serial 0 115200
default linux
label linux
  kernel vmlinuz
  append initrd=initrd.gz console=tty0 console=ttyS0,115200 quiet panic=10
EOF

truncate -s "${disk_mib}M" disk.raw
echo "start=$first_sector, type=c, bootable" | sfdisk --quiet disk.raw
dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk.raw conv=notrunc status=none
partition=disk.raw@@$((first_sector * sector))
mformat -i "$partition" -T $((disk_mib * 1024 * 1024 / sector - first_sector)) -v IMAGE ::
syslinux --offset $((first_sector * sector)) --install disk.raw
mcopy -i "$partition" root/boot/vmlinuz-* ::vmlinuz
mcopy -i "$partition" initrd.gz syslinux.cfg ::

# The image appears under its name only when it is whole.
mkdir -p "$(dirname "$target")"
qemu-img convert -q -f raw -O qcow2 disk.raw "$target.part"
mv "$target.part" "$target"
echo "Built $target ($(du -h "$target" | cut -f 1))"
