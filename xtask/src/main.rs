//! Everything that is done twice in this project: `cargo xtask TASK`.
//!
//! A task is a line in [`TASKS`]; it appears in the help when it works, not before.

mod bench;
mod corpus;
mod demo;
mod licences;
mod packaging;
mod privilege;
mod program;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

/// What went wrong, and how to mend it, for the person at the terminal.
type Outcome = Result<ExitCode, String>;

struct Task {
    name: &'static str,
    does: &'static str,
    perform: fn(&[String]) -> Outcome,
}

const TASKS: [Task; 5] = [
    Task {
        name: "run",
        does: "builds portcullis and watches this host, changing nothing; arguments go to `portcullis run`",
        perform: run::perform,
    },
    Task {
        name: "test",
        does: "installs the tools that tests need, checks format, lints, licences, documents, runs all tests",
        perform: test::perform,
    },
    Task {
        name: "demo",
        does: "a real nmap against a bare host and a guarded one, side by side, in namespaces of its own",
        perform: demo::perform,
    },
    Task {
        name: "bench",
        does: "measures every speed that is claimed, beside Debian's portsentry; [ROW…] [--runs N]",
        perform: bench::perform,
    },
    Task {
        name: "corpus",
        does: "writes scans and friends as captures, with the truth, to be looked at; DIR [SEEDS]",
        perform: corpus::perform,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return ExitCode::from(2);
    };
    if ["help", "-h", "--help"].contains(&name.as_str()) {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("cargo xtask {name}: there is no such task\n\n{}", help());
        return ExitCode::from(2);
    };
    (task.perform)(rest).unwrap_or_else(|why| {
        eprintln!("cargo xtask {name}: {why}");
        ExitCode::FAILURE
    })
}

fn help() -> String {
    let tasks: String = TASKS.iter().map(|task| format!("  {:<6} {}\n", task.name, task.does)).collect();
    format!("usage: cargo xtask TASK [ARGUMENTS]\n\n{tasks}")
}
