//! `cargo xtask run`: the first minute with portcullis.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Outcome, privilege, program};

/// Builds the program and becomes it, so that Ctrl-C and its exit code reach whom they should.
pub fn perform(arguments: &[String]) -> Outcome {
    let typed: String = arguments.iter().map(|word| format!(" {word}")).collect();
    println!("xtask: builds portcullis, then watches this host with `portcullis run{typed}`");
    let built = program::build_release()?;
    let state = testbed::target_directory().join("watch");
    // Everything that a trial writes stays below target/, and nothing is changed on the host.
    let own_state = if names_a_state(arguments) || asks_for_help(arguments) {
        Vec::new()
    } else {
        println!(
            "xtask: ask it from another terminal: {} status --state {}",
            built.display(),
            state.display()
        );
        vec!["--state".into(), state.into_os_string()]
    };
    let mut command = if privilege::may_capture() || privilege::is_root() || needs_no_rights(arguments) {
        Command::new(&built)
    } else {
        println!(
            "xtask: capturing packets needs CAP_NET_RAW, which you lack; starting the built program with sudo\n       \
             (without: cargo xtask run --engine listen)"
        );
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&built);
        sudo
    };
    let error = command.arg("run").args(arguments).args(own_state).exec();
    let name = program::describe(&command);
    Err(format!(
        "{name}: {error}\n  start it as root, or give it the rights: setcap cap_net_raw,cap_net_admin+ep {}",
        built.display()
    ))
}

fn names_a_state(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word == "--state" || word.starts_with("--state="))
}

fn asks_for_help(arguments: &[String]) -> bool {
    arguments.iter().any(|word| ["--help", "-h"].contains(&word.as_str()))
}

/// Plain sockets are open to everyone, and help is, too.
fn needs_no_rights(arguments: &[String]) -> bool {
    let listens = arguments.windows(2).any(|pair| pair[0] == "--engine" && pair[1] == "listen");
    listens || asks_for_help(arguments) || arguments.iter().any(|word| word == "--engine=listen")
}
