#!/bin/sh
# The live part of the demo, in the guest: the scheduler under a mixed load, and the state that the
# kernel reports. Ends with status 0 only if every step succeeds.

SECONDS_OF_LOAD=20
SAMPLES=15
class=/sys/kernel/sched_ext

say() { echo "--- $*"; }

fail() {
	echo "FAILED: $*"
	tail -n 20 /tmp/agent.log
	dmesg | tail -n 20
	exit 1
}

# until_state STATE: waits at most 60 s until sched_ext is in this state.
until_state() {
	tries=0
	until [ "$(cat $class/state)" = "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || fail "sched_ext is $(cat $class/state), not $1, after 60 s"
		kill -0 $agent 2>/dev/null || [ "$1" = disabled ] || fail "scx_takt ended before it was attached"
		usleep 50000
	done
}

check_ops() {
	ops=$(cat $class/root/ops)
	echo "cat $class/root/ops: $ops"
	case $ops in
	takt_*) ;;
	*) fail "the active scheduler is '$ops', not scx_takt" ;;
	esac
}

# One line per second, because the output is no terminal. Ends after $SAMPLES lines.
live_view() {
	scx_takt top --lines -n $SAMPLES 2>/tmp/view.err | tee /tmp/view | awk '{ print "    " $0; fflush() }'
}

pipe_load() { while :; do echo x; done | while read -r _; do :; done; }

load() {
	if scx_takt stress --help >/dev/null 2>&1; then
		scx_takt stress --seconds $SECONDS_OF_LOAD --stall-seconds 60 \
			--kinds hogs,pipes,forks,futex,sleepers,nice,affinity >/tmp/load.log 2>&1
		return
	fi
	for _ in 1 2 3; do
		while :; do :; done &
		pipe_load &
	done
	sleep $SECONDS_OF_LOAD
	kill $(jobs -p)
}

say "kernel $(uname -r), $(nproc) CPUs, sched_ext $(cat $class/state): EEVDF schedules"
say "scx_takt"
scx_takt >/tmp/agent.log 2>&1 &
agent=$!
until_state enabled
check_ops
say "scx_takt top --lines, beside a mixed load for $SECONDS_OF_LOAD s: hogs, pipes, forks and the like"
live_view &
view=$!
load || { cat /tmp/load.log; fail "the load ended with status $?"; }
wait $view
samples=$(grep -c "$ops" /tmp/view)
[ "$samples" -gt 0 ] || { cat /tmp/view.err; fail "no line of the live view shows $ops"; }
check_ops
echo "nr_rejected: $(cat $class/nr_rejected)"
say "stopping scx_takt"
kill -INT $agent
wait $agent || fail "scx_takt ended with status $?"
until_state disabled
say "scx_takt ended with status 0; sched_ext disabled: EEVDF schedules again"
echo "$ops was active on kernel $(uname -r) with $(nproc) CPUs, and $samples lines of the live view show it" >/tmp/report
