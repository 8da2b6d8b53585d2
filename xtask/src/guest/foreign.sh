#!/bin/sh
# Runs package.sh with package.deb in the clean Debian of system.tar, for an architecture whose programs the host cannot run.

root=/newroot
mkdir $root
mount -t tmpfs -o size=80% tmpfs $root
tar -C $root -xf /root/system.tar || exit 1
rm /root/system.tar
cp /root/package.sh /root/package.deb $root/tmp || exit 1
mount -t proc proc $root/proc
# A path, because busybox would run its own `sh` and its own dpkg for a bare `sh`.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
	chroot $root /bin/sh /tmp/package.sh /tmp/package.deb
