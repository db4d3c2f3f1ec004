#!/usr/bin/env bash
# Builds the base image of the test hosts from Debian packages, so that no image registry is needed: a minimal
# Debian with systemd as its first process and sshd for Ansible, and nothing that the roles under test are meant to install.
# Usage: base_image.sh SUITE IMAGE      (for example: base_image.sh bookworm localhost/image-kit-host:bookworm)
set -euo pipefail

suite=${1:?the Debian suite, for example bookworm}
image=${2:?the name of the image to make}
mirror=${IMAGE_KIT_DEBIAN_MIRROR:-}
packages=systemd,systemd-sysv,dbus,python3,python3-apt,iproute2,ca-certificates,sudo,procps,curl,openssh-server

if podman image exists "$image"; then
    echo "present $image"
    exit 0
fi
command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package lists stay in the image: a machine that somebody has just installed has them too, and check mode
# needs them to tell which packages it would install.
mmdebstrap --quiet --variant=minbase --include="$packages" --skip=cleanup/apt/lists \
    "$suite" "$work/rootfs.tar" ${mirror:+"$mirror"}
# systemd reaches its first target with less when nothing waits for hardware that a container has not got.
podman import --quiet \
    --change 'CMD ["/lib/systemd/systemd"]' --change 'STOPSIGNAL SIGRTMIN+3' --change 'ENV container=podman' \
    "$work/rootfs.tar" "$image" >/dev/null
echo "built $image"
