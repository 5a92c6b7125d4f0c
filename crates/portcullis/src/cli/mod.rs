//! The command line: flags are declared here, once; help and completions grow from that.
//!
//! Each verb with content has a file of its own. Verbs that speak with the daemon are clients of the control socket;
//! none of them touches the kernel, and only where no daemon runs are the events read from their file.

mod allow;
mod ban;
mod bans;
mod check;
mod completions;
mod doctor;
mod doors;
mod events;
mod explain;
mod history;
mod import;
mod key;
pub mod knock;
pub mod knockd;
mod list;
mod mode;
mod moment;
mod output;
mod place;
pub mod portsentry;
pub mod replay;
mod report;
pub mod run;
mod spa;
mod status;
mod telling;
mod whatif;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control::client::Failure;
use crate::exit::Exit;

/// Guards this host against port scans.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  portcullis run                      watch this host in the foreground; nothing is changed on it
  portcullis status                   what it does now
  portcullis bans                     who is banned, why, and until when
  portcullis ban 203.0.113.0/24 --for 2h --why \"asked by the provider\"
  portcullis unban 203.0.113.9        or by its number: portcullis unban b-7f3a

Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon, 4 configuration invalid,
5 refused because it would block a protected address, 77 not permitted";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Watch this host, and tell of scans as they happen
    Run(run::RunArguments),
    /// Read a configuration as run would: print its faults, or what it means
    Check(check::CheckArguments),
    /// Judge captures as if they arrived now
    Replay(replay::ReplayArguments),
    /// Tell what it does now
    Status(status::StatusArguments),
    /// List who is banned, why, and until when
    Bans(bans::BansArguments),
    /// Ban addresses or networks
    Ban(ban::BanArguments),
    /// End bans
    Unban(ban::UnbanArguments),
    /// Never ban these; also lists and removes what was allowed by hand
    Allow(allow::AllowArguments),
    /// List the doors, for whom they are open, and how the last knocks ended
    Doors(doors::DoorsArguments),
    /// Open a door by hand
    Open(doors::OpenArguments),
    /// Shut a door by hand
    Close(doors::CloseArguments),
    /// Tell what happened: by time, source, port, kind, door
    Events(events::EventsArguments),
    /// Tell why somebody is banned, or is not: evidence, cause, end, and how to undo it
    Explain(explain::ExplainArguments),
    /// Sum up a while: as text for mail, or as a page
    Report(report::ReportArguments),
    /// Look whether it is really protecting: what is wrong, why, and how to mend it; changes nothing
    Doctor(doctor::DoctorArguments),
    /// Tell what another configuration would have done with what is kept: bans added, bans gone
    Whatif(whatif::WhatifArguments),
    /// Only tell from now on; what scans had brought about ends, and bans by hand stay
    Observe(mode::ObserveArguments),
    /// Block scanners from now on
    Enforce(mode::EnforceArguments),
    /// Read the configuration anew: wholly, or not at all
    Reload(place::Place),
    /// Turn the configuration of an older program into one of ours, and report what became of it
    Import(import::ImportArguments),
    /// Guard as PortSentry did, with its options, files and modes; also under the name portsentry
    #[command(disable_help_flag = true)]
    Portsentry(portsentry::PortsentryWords),
    /// Open to those who knock as knockd did, with its options and its file; also under the name knockd
    #[command(disable_help_flag = true)]
    Knockd(knockd::KnockdWords),
    /// Knock at ports of another host, in this order; also under the name knock
    #[command(disable_help_flag = true)]
    Knock(knock::KnockWords),
    /// Open a door of another host by one encrypted packet, as fwknop does
    Spa(spa::SpaArguments),
    /// Make the secrets of a door: for rotating sequences, one-time sequences, or single packets
    Key(key::KeyArguments),
    /// Print a script that completes the command line of a shell
    Completions(completions::CompletionsArguments),
}

/// Runs the verb that the process's arguments name, or the older program by whose name it was called.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("portsentry") => return portsentry::main(&words).into(),
        Some("knock") => return knock::main(&words).into(),
        Some("knockd") => return knockd::main(&words).into(),
        _ => {}
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no faults; if they cannot be printed, nobody reads them.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let ended = match arguments.verb {
        Verb::Run(arguments) => Ok(crate::daemon::run(arguments)),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Replay(arguments) => Ok(crate::replay::run(&arguments)),
        Verb::Status(arguments) => status::status(&arguments),
        Verb::Bans(arguments) => bans::bans(&arguments),
        Verb::Ban(arguments) => ban::ban(&arguments),
        Verb::Unban(arguments) => ban::unban(&arguments),
        Verb::Allow(arguments) => allow::allow(&arguments),
        Verb::Doors(arguments) => doors::doors(&arguments),
        Verb::Open(arguments) => doors::open(&arguments),
        Verb::Close(arguments) => doors::close(&arguments),
        Verb::Events(arguments) => events::events(&arguments),
        Verb::Explain(arguments) => explain::explain(&arguments),
        Verb::Report(arguments) => report::report(&arguments),
        Verb::Doctor(arguments) => doctor::doctor(&arguments),
        Verb::Whatif(arguments) => whatif::whatif(&arguments),
        Verb::Observe(arguments) => mode::observe(&arguments),
        Verb::Enforce(arguments) => mode::enforce(&arguments),
        Verb::Reload(place) => mode::reload(&place),
        Verb::Import(arguments) => import::import(&arguments),
        Verb::Portsentry(arguments) => return portsentry::main(&arguments.words).into(),
        Verb::Knockd(arguments) => return knockd::main(&arguments.words).into(),
        Verb::Knock(arguments) => return knock::main(&arguments.words).into(),
        Verb::Spa(arguments) => spa::spa(&arguments),
        Verb::Key(arguments) => key::key(&arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
    };
    let ended = ended.unwrap_or_else(|Failure { exit, message }| {
        if !message.is_empty() {
            eprintln!("portcullis: {message}");
        }
        exit
    });
    ended.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declarations_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_words_of_portsentry_are_its_own_business() {
        for line in ["-tcp -audp", "-h", "--help -V", "-vD -c x", "a -- -b", "--state x --modes"] {
            let said =
                Arguments::try_parse_from(["portcullis", "portsentry"].into_iter().chain(line.split(' ')));
            let Ok(Arguments { verb: Verb::Portsentry(passed) }) = said else { panic!("{line}: {said:?}") };
            assert_eq!(passed.words.join(std::ffi::OsStr::new(" ")), line);
        }
    }

    #[test]
    fn mistakes_at_the_keyboard_are_usage() {
        for line in [
            "",
            "explode",
            "run --observe --enforce",
            "run --engine xdp",
            "replay",
            "replay a --local nowhere",
            "ban",
            "ban 10.0.0.1/8",
            "ban 10.0.0.1 --for 10",
            "ban 10.0.0.1 --for 0s",
            "unban",
            "unban b-xyz",
            "unban --all 10.0.0.1",
            "allow",
            "allow --list --for 10m",
            "allow 10.0.0.1 --list",
            "allow 10.0.0.1 --remove 10.0.0.2",
            "status --socket a --state b",
            "events --since yesterday",
            "events --source 10.0.0.1/8",
            "events --kind ping",
            "events --event nothing",
            "events --follow --until 1h",
            "events --export xml",
            "events --json --export csv",
            "explain",
            "explain s-xyz",
            "report --json --html a",
            "whatif",
            "import",
            "import portsentry",
            "import fwknop",
            "import fwknop access.conf --weak command-messages",
            "completions tcsh",
            "spa",
            "spa host",
            "spa host --key k --opens 22",
            "spa host --key k -a 192.0.2.1 -s",
            "key",
            "key rotating --user anna -o k",
            "key rotating --door ssh --beside k --user anna -o l",
            "key rotating --door ssh --user a:b -o k",
            "key one-time --door ssh --steps 2 -o s",
            "key spa --user anna --opens tcp/22 -o a",
        ] {
            let words = std::iter::once("portcullis").chain(line.split_whitespace());
            let error = Arguments::try_parse_from(words).map(|_| ()).unwrap_err();
            assert!(error.use_stderr(), "{line}: {error}");
        }
    }

    #[test]
    fn what_the_manual_promises_is_understood() {
        for line in [
            "run --observe -i eth0 -i eth1 --json",
            "run -c portcullis.toml --enforce --engine ring --state /tmp/x",
            "check",
            "check portcullis.toml --json",
            "check --sample",
            "replay a.pcap b.pcapng --local 192.0.2.1,2001:db8::1 --json",
            "replay - --local any",
            "status --json",
            "bans --json --state /tmp/x",
            "events",
            "events --follow --json",
            "events --since 7d --until 2026-11-21 --source 203.0.113.0/24 --port 22 --kind xmas",
            "events --event ban --event unban --limit 10 --export csv",
            "events --door ssh --export jsonl",
            "explain 203.0.113.9",
            "explain 2001:db8::/64 --json",
            "explain s-7f3a",
            "explain b-7f3b",
            "report",
            "report --since 7d --html report.html",
            "whatif new.toml --since 30d --json",
            "report --since 2026-11-20 --until 2026-11-21 --json",
            "ban 203.0.113.9 --for 10m --why because",
            "ban 2001:db8::/64 203.0.113.0/24 --for ever",
            "ban -",
            "unban 203.0.113.9 b-7f3a",
            "unban --all",
            "unban -",
            "allow 10.0.0.0/8 --for 2h",
            "allow -",
            "allow --list --json",
            "allow --remove 10.0.0.0/8",
            "observe --socket /run/other.sock",
            "observe --for 1h",
            "enforce",
            "doctor",
            "doctor -c portcullis.toml --json --state /tmp/x",
            "enforce --confirm 10m",
            "enforce --keep",
            "reload",
            "import portsentry /etc/portsentry/portsentry.conf -o portcullis.toml",
            "import portsentry a b --json",
            "import fwknop access.conf fwknopd.conf .fwknoprc --keys . --weak no-hmac,short-keys -o new.toml",
            "completions zsh",
            "spa host --key k",
            "spa host --key k -n x --opens tcp/22,udp/53 --for 30s -a 192.0.2.1 -p 62201 -6 --until-open 22",
            "spa host --key k -s",
            "key rotating --door ssh --user anna -o k",
            "key rotating --door ssh --user anna --ports 20000-29999 --protocols tcp --steps 8 --time-step 1m -o k",
            "key rotating --beside k --user bert -o l",
            "key one-time --door ssh --count 10 --steps 5 -o s",
            "key spa --user anna --opens tcp/22 -o a --client c",
            "portsentry",
            "portsentry -tcp",
            "portsentry -h",
            "knockd",
            "knockd -i eth0 -d --config /etc/knockd.conf",
            "portsentry --connect -c /etc/x -- -y",
        ] {
            let words = std::iter::once("portcullis").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
