# What the scripts of the VM tests share. Each script runs in a guest of its own, so nothing is put back.
#
# Times in seconds. Waiting is by polling: sysfs does not notify of changes of the state.

say() { echo "--- $*"; }

fail() {
	echo "FAIL: $*"
	for file in /tmp/agent.out /tmp/agent.err /tmp/stress.out /tmp/stress.err; do
		[ -s $file ] && echo "== $file" && tail -n 25 $file
	done
	echo "== kernel log" && dmesg | tail -n 25
	exit 1
}

state() { cat /sys/kernel/sched_ext/state; }
ops() { cat /sys/kernel/sched_ext/root/ops; }
is() { [ "$(state)" = "$1" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# await SECONDS COMMAND...: until the command succeeds; at most that long.
await() {
	tries=$(($1 * 20))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 50000
	done
}

# start_agent [FLAG...]: starts the scheduler and waits until it decides. Its process is $agent.
start_agent() {
	scx_takt "$@" >/tmp/agent.out 2>/tmp/agent.err &
	agent=$!
	await 60 attached || fail "scx_takt did not attach; state $(state)"
}

# Attached, or given up already: either way there is nothing more to wait for.
attached() { is enabled || gone $agent; }

expect_takt() {
	is enabled || fail "state is $(state), not enabled"
	case "$(ops)" in
	takt_*) ;;
	*) fail "ops is $(ops), not takt_..." ;;
	esac
}

# stop_agent SIGNAL: it must end with status 0 and leave the kernel to EEVDF.
stop_agent() {
	kill -"$1" $agent
	await 30 gone $agent || fail "scx_takt did not end at SIG$1"
	wait $agent
	status=$?
	[ $status -eq 0 ] || fail "exit status $status after SIG$1, not 0"
	is disabled || fail "state is $(state) after SIG$1, not disabled"
}

# start_stress FLAG...: a mixed load in the background. Its process is $stress.
start_stress() {
	scx_takt stress "$@" >/tmp/stress.out 2>/tmp/stress.err &
	stress=$!
}

# The load must come to its end with all its workers having got on.
finish_stress() {
	wait $stress
	status=$?
	[ $status -eq 0 ] || fail "stress ended with status $status"
	cat /tmp/stress.out
}

# rejects STATUS TEXT COMMAND...: the command fails with this status and says TEXT (a pattern of egrep)
# on one line of standard error.
rejects() {
	wanted=$1
	text=$2
	shift 2
	say "$* (expecting status $wanted)"
	"$@" >/tmp/agent.out 2>/tmp/agent.err </dev/null
	status=$?
	[ $status -eq "$wanted" ] || fail "$*: exit status $status, not $wanted"
	egrep -qi "$text" /tmp/agent.err || fail "$*: does not say '$text'"
	[ "$wanted" -ne 1 ] || [ "$(wc -l </tmp/agent.err)" -eq 1 ] || fail "$*: more than one line"
	egrep -qi 'panic|backtrace' /tmp/agent.err && fail "$*: panicked"
	cat /tmp/agent.err
}

# as_plain_user COMMAND: without any privilege.
as_plain_user() {
	grep -q ^plain: /etc/passwd 2>/dev/null || echo 'plain:x:65534:65534::/:/bin/sh' >>/etc/passwd
	su -s /bin/sh plain -c "$*"
}

# Hundredths of a second since boot.
now() { tr -d . </proc/uptime | cut -d ' ' -f 1; }
