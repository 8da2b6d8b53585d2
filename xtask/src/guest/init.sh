#!/bin/busybox sh
# The first process of a guest: mounts the file systems that a scheduler and its tools read, runs one
# command with its output on virtio ports, sends its exit status to the host, and powers off.
#
# Ports: 1 control (this script), 2 standard output, 3 standard error, 4... files for the host.
# The console hvc0 serves the interactive mode.

/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /usr/local/bin /proc /sys /dev /tmp /run /root /etc
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root LANG=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
chmod 1777 /tmp /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t bpf bpffs /sys/fs/bpf 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
read -r controllers </sys/fs/cgroup/cgroup.controllers
for controller in $controllers; do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
[ -e /etc/mtab ] || ln -s /proc/self/mounts /etc/mtab
hostname takt
ip link set lo up 2>/dev/null
ulimit -l unlimited
ulimit -n 65536

release=$(uname -r)
if [ -f /boot/config ] && [ ! -f "/boot/config-$release" ]; then
	mv /boot/config "/boot/config-$release"
elif [ ! -f "/boot/config-$release" ] && [ -f /proc/config.gz ]; then
	mkdir -p /boot
	zcat /proc/config.gz >"/boot/config-$release"
fi

. /takt/env # TAKT_MODE, TAKT_FETCH (number of files for the host), TERM, window size, TAKT_CAPACITIES

# The kernel sees equal CPUs: a copy of sysfs shows programs the capacities of the hybrid machine.
if [ -n "$TAKT_CAPACITIES" ]; then
	mkdir /run/cpu
	cp -a /sys/devices/system/cpu/. /run/cpu/ 2>/dev/null
	cpu=0
	for capacity in $TAKT_CAPACITIES; do
		echo "$capacity" >"/run/cpu/cpu$cpu/cpu_capacity"
		cpu=$((cpu + 1))
	done
	mount -o bind /run/cpu /sys/devices/system/cpu
fi

# The ports appear one by one after the host has answered. If the last one exists, all of them exist.
last=$((3 + TAKT_FETCH))
while [ ! -c /dev/vport0p$last ]; do usleep 10000; done
exec 3>/dev/vport0p1
echo "up $release" >&3
cd /root || exit

if [ "$TAKT_MODE" = console ]; then
	while [ ! -c /dev/hvc0 ]; do usleep 10000; done
	stty -F /dev/hvc0 sane rows "$TAKT_ROWS" cols "$TAKT_COLUMNS"
	setsid -c sh /takt/command </dev/hvc0 >/dev/hvc0 2>&1 3>&-
	status=$?
else
	# Through pipes, because a port can be opened only once and programs open /dev/stderr anew.
	mkfifo /run/takt.out /run/takt.err
	(cat /run/takt.out >/dev/vport0p2; : >/run/takt.out.done) 3>&- &
	(cat /run/takt.err >/dev/vport0p3; : >/run/takt.err.done) 3>&- &
	sh /takt/command </dev/null >/run/takt.out 2>/run/takt.err 3>&-
	status=$?
	# Processes that the command has left may keep the pipes open: wait for them at most 0.5 s.
	tries=0
	while [ $tries -lt 50 ] && { [ ! -e /run/takt.out.done ] || [ ! -e /run/takt.err.done ]; }; do
		usleep 10000
		tries=$((tries + 1))
	done
fi

number=0
while [ $number -lt "$TAKT_FETCH" ]; do
	number=$((number + 1))
	path=$(sed -n ${number}p /takt/fetch)
	if [ -f "$path" ]; then
		cat "$path" >/dev/vport0p$((3 + number))
		echo "fetched $number" >&3
	fi
done

echo "exit $status" >&3
exec poweroff -f
