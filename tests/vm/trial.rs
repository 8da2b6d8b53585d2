//! `--try`: the way back that needs no hand.

use super::common::Vm;

#[test]
#[ignore = "boots a VM"]
fn a_trial_ends_unless_it_is_kept() {
    Vm::new("7.2").cpus(2).deterministic().passes(
        r#"
        # start_trial SECONDS: it is on trial once it says so, a little after it has attached.
        start_trial() {
            start_agent --try $1
            await 10 grep -q 'on trial for .*scx_takt keep' /tmp/agent.err || fail "no word of how to keep it"
        }

        say "not kept: it ends by itself, without an error"
        start_trial 2
        expect_takt
        await 30 gone $agent || fail "the trial does not end"
        wait $agent || fail "exit status $? after the trial"
        is disabled || fail "state is $(state) after the trial"
        grep -q 'not kept: back to the kernel' /tmp/agent.err || fail "no word of the end"

        say "kept: it stays"
        start_trial 3
        scx_takt keep >/tmp/kept || fail "keep ended with status $?"
        grep -q 'is kept' /tmp/kept || fail "keep says $(cat /tmp/kept)"
        sleep 6
        expect_takt
        scx_takt keep >/tmp/kept 2>&1 && fail "kept twice"
        grep -q 'not on trial' /tmp/kept || fail "keep says $(cat /tmp/kept)"
        stop_agent INT

        say "nothing to keep"
        scx_takt keep >/tmp/kept 2>&1 && fail "kept what is not there"
        grep -q 'no scx_takt to keep' /tmp/kept || fail "keep says $(cat /tmp/kept)"

        say "the agent is stopped meanwhile: the kernel ends it"
        start_trial 2
        kill -STOP $agent
        (while :; do :; done) &
        busy=$!
        await 30 is disabled || fail "a stopped agent holds on to the scheduler"
        kill $busy
        kill -CONT $agent
        await 30 gone $agent || fail "the agent does not end"
        wait $agent || fail "exit status $? after the kernel ended the trial"

        say "the agent is killed meanwhile"
        start_trial 60
        kill -KILL $agent
        await 30 is disabled || fail "state is $(state) after SIGKILL"
        "#,
    );
}
