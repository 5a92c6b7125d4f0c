//! `knock`: opens a door by knocking, with the options of knock 0.8; also the program's other name.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
use portcullis_core::door::rotating::derive;
use portcullis_core::net::Protocol;

use crate::config::Span;
use crate::escape::Escaped;
use crate::guest::address::{Family, resolve};
use crate::guest::hit::hit;
use crate::guest::{knocking, opened};
use crate::keys::Place;
use crate::keys::memory::keep_out_of_dumps;
use crate::keys::rotating::KeyFile;

/// Between two knocks where nobody says otherwise: networks reorder packets that leave together.
const GAP: Duration = Duration::from_millis(20);

/// So few sequences left are said.
const FEW: usize = 5;

/// How every failure ends, usage and `--help` too (knock 0.8, measured).
const FAILED: u8 = 1;

/// Knocks at ports of a host, in this order.
#[derive(Debug, Parser)]
#[command(
    name = "knock",
    disable_version_flag = true,
    disable_help_flag = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
struct Arguments {
    /// All knocks are UDP
    #[arg(short, long)]
    udp: bool,
    /// Wait so many milliseconds after each knock [default: 20 between two]
    #[arg(short, long, value_name = "MS")]
    delay: Option<u32>,
    /// Use IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Tell each knock
    #[arg(short, long)]
    verbose: bool,
    /// Then wait until this TCP port opens, and say whether it did
    #[arg(long, value_name = "PORT")]
    until_open: Option<String>,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "until_open")]
    patience: Span,
    /// Knock what follows from this key and the time (portcullis key rotating)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["one_time", "udp"])]
    key: Option<PathBuf>,
    /// Knock the next unused sequence of this file, and strike it (portcullis key one-time)
    #[arg(long, value_name = "FILE", conflicts_with = "udp")]
    one_time: Option<PathBuf>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::SetTrue)]
    version: bool,
    /// Print this
    #[arg(short, long, action = ArgAction::SetTrue)]
    help: bool,
    /// Name or address
    #[arg(required_unless_present_any = ["version", "help"])]
    host: Option<String>,
    /// Numbers or names of services; :udp makes one a datagram
    #[arg(
        value_name = "PORT[:PROTO]",
        required_unless_present_any = ["version", "help", "key", "one_time"],
        conflicts_with_all = ["key", "one_time"]
    )]
    ports: Vec<String>,
}

/// The words behind `portcullis knock`, which are knock's own business.
#[derive(Debug, Args)]
pub struct KnockWords {
    /// What the old client took.
    #[arg(
        help = "HOST PORT[:PROTO]… and options; -h lists them",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    pub words: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  knock host.example 7000 8000:udp 9000
  knock --until-open ssh host.example 7000 8000 9000
  knock --key host.key --until-open ssh host.example

Exit codes: 0 sent (or, with --until-open, open), 1 anything else";

/// Runs with the words behind the name.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    let line = std::iter::once(OsString::from("knock")).chain(words.iter().cloned());
    let arguments = match Arguments::try_parse_from(line) {
        Ok(arguments) => arguments,
        Err(error) => {
            // If it cannot be printed, nobody reads it.
            let _ = error.print();
            return FAILED;
        }
    };
    if arguments.version {
        println!("knock (portcullis {})", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    if arguments.help {
        use clap::CommandFactory;
        let _ = Arguments::command().print_long_help();
        return FAILED;
    }
    match knock(&arguments) {
        Ok(said) => {
            if let Some(said) = said {
                println!("{said}");
            }
            0
        }
        Err(why) => {
            eprintln!("knock: {why}");
            FAILED
        }
    }
}

/// Knocks, and waits where that was asked for; what is to be said of it.
fn knock(arguments: &Arguments) -> Result<Option<String>, String> {
    let host = arguments.host.as_deref().unwrap_or_default();
    let family = match (arguments.ipv4, arguments.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Any,
    };
    for (index, (port, protocol)) in steps(arguments, host, family)?.iter().enumerate() {
        if index > 0 && arguments.delay.is_none() {
            thread::sleep(GAP);
        }
        let target = resolve(host, port, *protocol, family).map_err(|error| error.to_string())?;
        if arguments.verbose {
            println!("hitting {} {}:{}", protocol.name(), target.ip(), target.port());
        }
        hit(target, *protocol).map_err(|error| format!("{target} cannot be reached: {error}"))?;
        if let Some(delay) = arguments.delay {
            thread::sleep(Duration::from_millis(delay.into()));
        }
    }
    let Some(port) = &arguments.until_open else { return Ok(None) };
    let door = resolve(host, port, Protocol::Tcp, family).map_err(|error| error.to_string())?;
    opened::tell(door, arguments.patience.0).map(Some)
}

/// What is to be sent, in order: the ports that were named, or those that follow from a file. A host whose name leads
/// nowhere uses nothing up.
fn steps(arguments: &Arguments, host: &str, family: Family) -> Result<Vec<(String, Protocol)>, String> {
    let numbers = |steps: Vec<(Protocol, u16)>| {
        steps.into_iter().map(|(protocol, port)| (port.to_string(), protocol)).collect()
    };
    let Some(path) = arguments.key.as_ref().or(arguments.one_time.as_ref()) else {
        return arguments.ports.iter().map(|item| item_of(item, arguments.udp)).collect();
    };
    resolve(host, "1", Protocol::Udp, family).map_err(|error| error.to_string())?;
    keep_out_of_dumps().map_err(|error| {
        format!("this process can't be kept out of core dumps, so no key is read: {error}")
    })?;
    let place = Place::closed(path);
    if arguments.key.is_some() {
        let key = KeyFile::read(&place).map_err(|fault| fault.to_string())?;
        let step = knocking::step_to_use(&key.shape, portcullis_sys::clock::now, |wait| {
            eprintln!("knock: this time step is about to end; waiting {} ms for the next", wait.as_millis());
            thread::sleep(wait);
        });
        return Ok(numbers(derive(&key.key, &key.door, key.host, &key.shape, step)));
    }
    let (steps, left) = knocking::spend_next(&place).map_err(|fault| fault.to_string())?;
    if left <= FEW {
        eprintln!("knock: {left} sequences are left in {}", path.display());
    }
    Ok(numbers(steps))
}

/// `7000`, `8000:udp`. As with knock 0.8 only the word `udp` means UDP; another one is said, since it may be meant so.
fn item_of(item: &str, is_udp: bool) -> Result<(String, Protocol), String> {
    let (port, protocol) = match item.split_once(':') {
        None => (item, None),
        Some((port, protocol)) => (port, Some(protocol)),
    };
    let protocol = match protocol {
        _ if is_udp => Protocol::Udp,
        Some("udp") => Protocol::Udp,
        None | Some("tcp") => Protocol::Tcp,
        Some(other) => {
            return Err(format!("\"{}\": it is tcp or udp, not \"{}\"", Escaped(item), Escaped(other)));
        }
    };
    Ok((port.to_owned(), protocol))
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
    fn a_port_names_its_transport() {
        assert_eq!(item_of("7000", false), Ok(("7000".to_owned(), Protocol::Tcp)));
        assert_eq!(item_of("ssh:tcp", false), Ok(("ssh".to_owned(), Protocol::Tcp)));
        assert_eq!(item_of("7000:udp", false), Ok(("7000".to_owned(), Protocol::Udp)));
        assert_eq!(item_of("7000:tcp", true), Ok(("7000".to_owned(), Protocol::Udp)));
        assert!(item_of("7000:UDP", false).is_err());
    }

    #[test]
    fn the_old_options_are_understood() {
        for line in [
            "-u -d 100 -4 -v host 7000",
            "--udp --delay 5 --ipv6 --verbose host 7000 8000:udp",
            "-V",
            "-h",
            "--key k host",
            "--one-time f -6 host",
        ] {
            let words = std::iter::once("knock").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "",
            "host",
            "-d -5 host 7000",
            "-x host 7000",
            "--key k",
            "--key k host 7000",
            "--key k --one-time f host",
        ] {
            let words = std::iter::once("knock").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
