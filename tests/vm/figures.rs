//! Figures that are shown, held against a second reader of the live kernel.

use crate::common::Vm;

#[test]
#[ignore = "boots a VM"]
fn figures_agree_with_the_maps_they_come_from() {
    let text = Vm::new("7.2")
        .cpus(2)
        .with_test("scx_takt:second_reader")
        .passes(
            r#"
            start_agent --set long_wait_ns=20000000
            start_stress --seconds 600 --stall-seconds 60 --kinds hogs,pipes,sleepers
            second_reader --ignored --nocapture || fail "the figures do not agree"
            kill -INT $stress
            finish_stress
            stop_agent INT
            "#,
        );
    assert!(text.contains("1 passed"), "{text}");
}
