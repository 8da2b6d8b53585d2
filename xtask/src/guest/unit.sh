#!/bin/sh
# Runs the systemd unit of package.deb under systemd, in the clean Debian of system.tar, on a
# kernel with sched_ext. systemd is the first process of a process namespace in which that Debian is the root.
#
# Under that systemd the unit starts, is confined, restarts after SIGKILL, stops, alternates with an scx.service that
# runs the scheduler of /etc/default/scx, and is removed with its package.

fail() {
	echo "FAIL  $*"
	exit 1
}

root=/newroot
mkdir $root
mount -t tmpfs -o size=80% tmpfs $root
tar -C $root -xf /root/system.tar || fail "cannot unpack the system"
cp /root/package.deb $root/package.deb
chroot $root dpkg -i /package.deb >/tmp/out 2>&1 || { cat /tmp/out; fail "dpkg -i"; }

cat >$root/check.sh <<'END'
exec >/result 2>&1
ok() { echo "ok    $*"; }
fail() {
	echo "FAIL  $*"
	journalctl --no-pager --unit scx_takt | tail -n 20
	systemctl exit 1
	exit 1
}
state() { cat /sys/kernel/sched_ext/state; }
# await STATE: sysfs does not notify of changes.
await() {
	tries=300
	until [ "$(state)" = "$1" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "state is $(state), not $1"
		sleep 0.1
	done
}
pid() { systemctl show -p MainPID --value scx_takt.service; }

systemctl start scx_takt.service || fail "systemctl start"
await enabled
ok "started: $(cat /sys/kernel/sched_ext/root/ops)"

first=$(pid)
grep -qE '^Seccomp:.*2$' /proc/$first/status || fail "no system call filter"
grep -qE '^NoNewPrivs:.*1$' /proc/$first/status || fail "may gain privileges"
bounds=$(sed -n 's/^CapBnd:\s*//p' /proc/$first/status)
[ "$bounds" = "$(sed -n 's/^CapEff:\s*//p' /proc/$first/status)" ] || fail "the effective capabilities are not the bounding set"
ok "confined: capabilities $bounds, system call filter, no new privileges"

systemctl kill --signal KILL scx_takt.service
tries=300
until [ "$(pid)" != "$first" ] && [ "$(pid)" != 0 ]; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || fail "not started again after SIGKILL"
	sleep 0.1
done
await enabled
ok "started again after SIGKILL"

systemctl stop scx_takt.service || fail "systemctl stop"
[ "$(state)" = disabled ] || fail "state is $(state) after systemctl stop"
[ "$(systemctl show -p Result --value scx_takt.service)" = success ] || fail "the result is not success"
[ ! -e /run/scx ] || fail "leaves /run/scx"
ok "stopped"

# As in the service of the scx-scheds package.
cat >/etc/systemd/system/scx.service <<'UNIT'
[Service]
EnvironmentFile=/etc/default/scx
ExecStart=/bin/sh -c 'exec $SCX_SCHEDULER $SCX_FLAGS'
UNIT
cp /usr/share/doc/scx-takt/examples/scx.default /etc/default/scx
systemctl daemon-reload
systemctl start scx_takt.service && await enabled
systemctl start scx.service || fail "scx.service does not start"
systemctl is-active --quiet scx_takt.service && fail "both services run"
await enabled
grep -q ^takt_ /sys/kernel/sched_ext/root/ops || fail "scx.service does not run scx_takt"
systemctl start scx_takt.service || fail "scx_takt.service does not start after scx.service"
systemctl is-active --quiet scx.service && fail "both services run"
await enabled
ok "alternates with scx.service, which runs it from the lines for /etc/default/scx"
rm /etc/systemd/system/scx.service /etc/default/scx

systemctl enable scx_takt.service >/dev/null 2>&1
[ -d /var/lib/scx_takt ] || fail "/var/lib/scx_takt is missing"
dpkg -P scx-takt >/tmp/out 2>&1 || { cat /tmp/out; fail "dpkg -P while it runs"; }
[ "$(state)" = disabled ] || fail "state is $(state) after dpkg -P"
left=$(find /etc /usr /var /run -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /run/systemd \) -prune -o -name '*scx*' -print)
[ -z "$left" ] || fail "a purge leaves $left"
ok "a purge stops it and leaves no files"
systemctl exit 0
END
cat >$root/etc/systemd/system/takt-check.service <<'END'
[Unit]
DefaultDependencies=no
Wants=sysinit.target
After=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh /check.sh
END

mount --make-rprivate / 2>/dev/null
unshare -m -p -f sh -c '
	mount -t proc proc $0/proc
	mount --rbind /sys $0/sys
	mount --rbind /dev $0/dev
	mount -t tmpfs tmpfs $0/run
	exec chroot $0 env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=takt \
		/lib/systemd/systemd --unit=takt-check.service --log-level=warning --log-target=console' $root
status=$?
[ -s $root/result ] || fail "systemd did not run the check (status $status)"
cat $root/result
exit $status
