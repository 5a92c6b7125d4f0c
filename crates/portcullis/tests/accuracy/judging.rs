//! Scenarios of the corpus, replayed as `portcullis replay` would: through its reader of captures and the engine,
//! with the built-in configuration. Shared by the test beside and the example `accuracy`.

use corpus::Scenario;
use corpus::score::{Accusation, Judge, Outcome, Report};
use corpus::{pcap, rules};
use portcullis::cli::replay::Local;
use portcullis::config::Config;
use portcullis::replay;

/// Whom the built-in configuration accuses after these captures, one stream in this order.
pub fn accusations(scenarios: &[Scenario], local: &Local) -> Vec<Accusation> {
    let files: Vec<Vec<u8>> = scenarios.iter().map(pcap::file).collect();
    let findings = replay::judge(&Config::default(), Some(local), files.iter().map(Vec::as_slice))
        .expect("the corpus writes whole captures");
    let accusation = |finding: replay::Finding| Accusation {
        source: finding.scan.source,
        kinds: finding.scan.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        shape: finding.scan.shape.name().to_owned(),
        settled: finding.settled.0,
    };
    findings.into_iter().map(accusation).collect()
}

/// Takes down how everybody does with this capture.
pub fn add(report: &mut Report, scenario: &Scenario) {
    let views = [(Judge::Ours, Local::Addresses(scenario.local.clone())), (Judge::OursAny, Local::Any)];
    for (judge, local) in views {
        report.add(
            scenario,
            judge,
            &Outcome::of(scenario, &accusations(std::slice::from_ref(scenario), &local)),
        );
    }
    report.add(scenario, Judge::PortSentry, &Outcome::of_sources(scenario, &rules::portsentry(scenario)));
    report.add(scenario, Judge::Scanlogd, &Outcome::of_sources(scenario, &rules::scanlogd(scenario)));
}
