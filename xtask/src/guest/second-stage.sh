#!/bin/sh
# The second stage of debootstrap for the incomplete system in system.tar; /tmp/done.tar is the complete one.

root=/newroot
mkdir $root
mount -t tmpfs -o size=80% tmpfs $root
tar -C $root -xf /root/system.tar || exit 1
rm /root/system.tar
mount -t proc proc $root/proc
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
	chroot $root /debootstrap/debootstrap --second-stage >/tmp/log 2>&1 || {
	tail -n 20 /tmp/log
	exit 1
}
! mountpoint -q $root/proc || umount $root/proc
tar -C $root -cf /tmp/done.tar .
