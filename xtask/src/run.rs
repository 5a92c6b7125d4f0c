//! `cargo xtask run`: the first minute with portcullis.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Outcome, privilege, program};

/// Builds the program and becomes it, so that Ctrl-C and its exit code reach whom they should.
pub fn perform(arguments: &[String]) -> Outcome {
    println!("xtask: builds portcullis, then runs `portcullis run {}`", arguments.join(" ").trim_end());
    let built = program::build_release()?;
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
    let error = command.arg("run").args(arguments).exec();
    Err(format!("{}: {error}", program::describe(&command)))
}

/// Plain sockets are open to everyone, and help is, too.
fn needs_no_rights(arguments: &[String]) -> bool {
    let listens = arguments.windows(2).any(|pair| pair[0] == "--engine" && pair[1] == "listen");
    listens || arguments.iter().any(|word| ["--engine=listen", "--help", "-h"].contains(&word.as_str()))
}
