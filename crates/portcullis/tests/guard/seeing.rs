//! What is seen: the real tools against a guarded host.

use testbed::Lab;

use crate::harness::{Guard, SOON};

#[test]
fn a_scan_is_told_and_status_counts_it() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    let victim = lab.victim4().to_string();
    lab.attacker.run(&["nmap", "-n", "-Pn", "-sS", "-p", "21-40", &victim]);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!(scan["source"], "10.77.0.1");
    assert_eq!(scan["decision"], "observe");
    assert_eq!(guard.status()["scans"], 1);
    assert_eq!(guard.stop(), 0);
}
