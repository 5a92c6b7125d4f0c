//! What is worth a thought about the commands of a door.

use super::super::portsentry::{Weight, missing_programs, programs};
use super::sequence::Remark;

/// What is to be known of a command line.
pub(super) fn remarks(command: &str) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut remark = |weight, part: &str, message: String, mend: &str| {
        let start = command.find(part).unwrap_or(0);
        remarks.push(Remark { weight, within: start..start + part.len(), message, mend: mend.to_owned() });
    };
    if command.len() > 1
        && command.starts_with('"')
        && command.ends_with('"')
        && !command[1..].contains("\" ")
    {
        let says =
            "knockd takes no quotes away, so the shell looks for a program with all of this as its name";
        remark(Weight::Doubtful, command, says.to_owned(), "take the quotes around the command away");
    }
    if let Some(comment) = command.find(" #").map(|at| &command[at + 1..]) {
        let says = "this is no comment of knockd, but passed to the shell, which passes over it";
        let mend = "a comment stands on a line of its own, which begins with #";
        remark(Weight::Note, comment, says.to_owned(), mend);
    }
    let lower = command.to_ascii_lowercase();
    let places = lower.match_indices("%ip%").map(|(at, _)| &command[at..at + 4]);
    for other in places.filter(|other| *other != "%IP%") {
        let says = format!("only %IP% is the knocker's address; {other} stays as it is");
        remark(Weight::Doubtful, other, says, "write %IP%");
    }
    for missing in missing_programs(command) {
        let (found, mend) = match &missing.found {
            Some(path) => (format!("; it is at {}", path.display()), format!("write {}", path.display())),
            None => (String::new(), "install it, or correct the path".to_owned()),
        };
        let says = format!("there is no program {}{found}", missing.program);
        remark(Weight::Doubtful, &missing.program, says, &mend);
    }
    let names = programs(command);
    let is_iptables = |program: &String| {
        matches!(
            program.rsplit('/').next(),
            Some("iptables" | "ip6tables" | "iptables-nft" | "iptables-legacy")
        )
    };
    if names.iter().any(is_iptables) && command.contains(" -A INPUT") && command.contains("ACCEPT") {
        let says = "-A puts the rule behind those that are there: if one of them drops or rejects, the knock is right and the port still shut";
        remark(Weight::Note, "-A INPUT", says.to_owned(), "write -I INPUT to put it first");
    }
    remarks
}
