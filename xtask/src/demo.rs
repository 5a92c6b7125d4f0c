//! `cargo xtask demo`: what a port scanner learns about a bare host, and about one that portcullis guards.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::{Lab, Running};

use crate::{Outcome, privilege, program, tools};

/// Ports with a service on the victim; nmap tries all of them in its 1,000.
const SERVICES: [u16; 6] = [22, 80, 443, 3306, 5432, 8080];

/// How many ports nmap tries when it isn't told.
const PORTS: usize = 1000;

/// nmap gives up on its own long before; a guard that doesn't start should not hang the demonstration.
const PATIENCE: Duration = Duration::from_secs(20);

/// Scans both victims and prints what the scanner learned of each.
pub fn perform(arguments: &[String]) -> Outcome {
    let guard = match arguments {
        [] => {
            println!(
                "xtask: builds portcullis, then scans inside network namespaces; nothing leaves this machine"
            );
            program::build_release()?
        }
        // How the demonstration calls itself through sudo, so that cargo builds as the user.
        [flag, path] if flag == "--guard" => PathBuf::from(path),
        _ => return Err("takes no arguments".to_owned()),
    };
    tools::install_missing(&["ip", "nsenter", "setpriv", "nmap"])?;
    if !privilege::is_root() {
        privilege::sudo("making network namespaces needs root")?;
        let itself = std::env::current_exe().map_err(|error| format!("its own path: {error}"))?;
        let mut again = Command::new("sudo");
        let error = again.arg("--").arg(itself).args(["demo", "--guard"]).arg(guard).exec();
        return Err(format!("sudo: {error}"));
    }
    let Some(bare) = Lab::direct() else { return Ok(ExitCode::FAILURE) };
    println!("xtask: nmap -sS -T4 --max-retries 1 --min-rate 500 against the bare victim");
    let bare = scan(&bare)?;
    let Some(guarded) = Lab::direct() else { return Ok(ExitCode::FAILURE) };
    println!("xtask: the same against the guarded one");
    let (guarded, ban) = scan_guarded(&guarded, &guard)?;
    print!("{}", table(&bare, &guarded));
    println!("\nportcullis: {ban}");
    Ok(ExitCode::SUCCESS)
}

/// What nmap knows after a scan.
#[derive(Debug, Default, PartialEq)]
struct Learned {
    open: BTreeSet<u16>,
    closed: usize,
    took: Duration,
}

impl Learned {
    /// Ports of which the scanner got an answer; the others are "filtered" to it.
    fn answers(&self) -> usize {
        self.open.len() + self.closed
    }

    /// Reads nmap's grepable output: `Ports: 22/open/tcp//ssh///, 23/closed/…<TAB>Ignored State: closed (994)`.
    fn read(grepable: &str) -> Self {
        let mut learned = Self::default();
        let host = grepable.lines().filter(|line| line.starts_with("Host: "));
        for field in host.flat_map(|line| line.split('\t')) {
            if let Some(ports) = field.strip_prefix("Ports: ") {
                for port in ports.split(", ") {
                    let mut parts = port.split('/');
                    let (number, state) = (parts.next().map(str::trim), parts.next());
                    match (number.and_then(|number| number.parse().ok()), state) {
                        (Some(number), Some("open")) => drop(learned.open.insert(number)),
                        (Some(_), Some("closed")) => learned.closed += 1,
                        _ => {}
                    }
                }
            }
            if let Some(count) = field.strip_prefix("Ignored State: closed (") {
                learned.closed += count.trim_end().trim_end_matches(')').parse::<usize>().unwrap_or_default();
            }
        }
        learned
    }
}

fn scan(lab: &Lab) -> Result<Learned, String> {
    let _services = lab.victim.enter(|| {
        SERVICES.map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the namespace is new"))
    });
    // Slowed by the silence, nmap would take minutes to learn nothing more: one repetition, at a steady rate.
    let start = Instant::now();
    let victim = lab.victim4().to_string();
    let output = lab.attacker.run(&[
        "nmap",
        "-sS",
        "-T4",
        "--max-retries",
        "1",
        "--min-rate",
        "500",
        "-n",
        "-oG",
        "-",
        &victim,
    ]);
    let took = start.elapsed();
    let printed = String::from_utf8_lossy(&output.stdout);
    if !printed.contains("Status: Up") {
        return Err(format!("nmap did not find the victim:\n{printed}"));
    }
    Ok(Learned { took, ..Learned::read(&printed) })
}

/// Returns what was learned, and what the guard said of its ban.
fn scan_guarded(lab: &Lab, guard: &Path) -> Result<(Learned, String), String> {
    let state = testbed::target_directory().join(format!("demo-{}", std::process::id()));
    std::fs::create_dir(&state).map_err(|error| format!("{}: {error}", state.display()))?;
    let program = guard.to_str().ok_or_else(|| format!("{}: is not UTF-8", guard.display()))?;
    let mut command = lab.victim.command(program);
    let mut guard = Running::spawn(command.args(["run", "--enforce", "--json", "--state"]).arg(&state));
    guard.wait_for_line(PATIENCE, |line| event(line, "start").is_some());
    let learned = scan(lab);
    let ban = guard.wait_for_line(PATIENCE, |line| event(line, "ban").is_some());
    let lines = guard.lines();
    let scan = lines.iter().find_map(|line| event(&line.text, "scan"));
    guard.stop(PATIENCE);
    std::fs::remove_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;

    let ban = event(&ban.text, "ban").unwrap_or_default();
    let said = |object: &Value, field: &str| object[field].as_str().map(str::to_owned);
    let why = scan.and_then(|scan| said(&scan, "why")).unwrap_or_else(|| "a scan".to_owned());
    let whom = said(&ban, "prefix").unwrap_or_default();
    let until = said(&ban, "until").unwrap_or_default();
    Ok((learned?, format!("banned {whom} until {until}: {why}")))
}

/// The object of a line of JSON, if it is of this event.
fn event(line: &str, name: &str) -> Option<Value> {
    let object: Value = serde_json::from_str(line).ok()?;
    (object["event"] == name).then_some(object)
}

fn table(bare: &Learned, guarded: &Learned) -> String {
    let of = |count: usize, all: usize| format!("{count} of {all}");
    let seconds = |took: Duration| format!("{:.1} s", took.as_secs_f64());
    let ports = |open: &BTreeSet<u16>| {
        let ports: Vec<_> = open.iter().map(u16::to_string).collect();
        if ports.is_empty() { "none".to_owned() } else { ports.join(" ") }
    };
    let rows = [
        ["the scanner learned".to_owned(), "bare".to_owned(), "guarded".to_owned()],
        [
            "open ports found".to_owned(),
            of(bare.open.len(), SERVICES.len()),
            of(guarded.open.len(), SERVICES.len()),
        ],
        ["which".to_owned(), ports(&bare.open), ports(&guarded.open)],
        ["ports that answered".to_owned(), of(bare.answers(), PORTS), of(guarded.answers(), PORTS)],
        ["time it took".to_owned(), seconds(bare.took), seconds(guarded.took)],
    ];
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let rule = format!("  {}\n", "-".repeat(widths.iter().sum::<usize>() + 6));
    let mut text = String::from("\n");
    for (index, [what, bare, guarded]) in rows.iter().enumerate() {
        text += &format!("  {what:<0$}   {bare:<1$}   {guarded:<2$}", widths[0], widths[1], widths[2]);
        text.truncate(text.trim_end().len());
        text.push('\n');
        if index == 0 {
            text += &rule;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nmap_says_is_counted() {
        let bare = "# Nmap 7.93 scan\nHost: 10.77.0.2 ()\tStatus: Up\n\
                    Host: 10.77.0.2 ()\tPorts: 22/open/tcp//ssh///, 80/open/tcp//http///\tIgnored State: closed (998)\n";
        let learned = Learned::read(bare);
        assert_eq!((learned.open.clone(), learned.closed), (BTreeSet::from([22, 80]), 998));
        assert_eq!(learned.answers(), 1000);
        let guarded = "Host: 10.77.0.2 ()\tPorts: 23/closed/tcp//telnet///, 80/open/tcp//http///\t\
                       Ignored State: filtered (998)\n";
        let learned = Learned::read(guarded);
        assert_eq!((learned.open.clone(), learned.closed), (BTreeSet::from([80]), 1));
        assert_eq!(Learned::read("Host: 10.77.0.2 ()\tIgnored State: filtered (1000)\n"), Learned::default());
    }

    #[test]
    fn the_table_stands_in_columns() {
        let bare = Learned { open: SERVICES.into(), closed: 994, took: Duration::from_millis(120) };
        let guarded = Learned { open: BTreeSet::new(), closed: 4, took: Duration::from_millis(14_250) };
        let expected = "
  the scanner learned   bare                       guarded
  ----------------------------------------------------------
  open ports found      6 of 6                     0 of 6
  which                 22 80 443 3306 5432 8080   none
  ports that answered   1000 of 1000               4 of 1000
  time it took          0.1 s                      14.2 s
";
        assert_eq!(table(&bare, &guarded), expected);
    }
}
