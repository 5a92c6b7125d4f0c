//! `knock`: opens a door by knocking, with the options of knock 0.8; also the program's other name.

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
use portcullis_core::net::Protocol;

use crate::config::Span;
use crate::escape::Escaped;
use crate::guest::address::{Family, resolve};
use crate::guest::hit::hit;
use crate::guest::opened::{self, Shut};

/// Between two knocks where nobody says otherwise: networks reorder packets that leave together.
const GAP: Duration = Duration::from_millis(20);

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
    #[arg(value_name = "PORT[:PROTO]", required_unless_present_any = ["version", "help"])]
    ports: Vec<String>,
}

/// The words behind `portcullis knock`, which are knock's own business.
#[derive(Debug, Args)]
pub struct KnockWords {
    /// HOST PORT[:PROTO]… and options; -h lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub words: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  knock host.example 7000 8000:udp 9000
  knock --until-open ssh host.example 7000 8000 9000

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
    for (index, item) in arguments.ports.iter().enumerate() {
        if index > 0 && arguments.delay.is_none() {
            thread::sleep(GAP);
        }
        let (port, protocol) = item_of(item, arguments.udp)?;
        let target = resolve(host, port, protocol, family).map_err(|error| error.to_string())?;
        if arguments.verbose {
            println!("hitting {} {}:{}", protocol.name(), target.ip(), target.port());
        }
        hit(target, protocol).map_err(|error| format!("{target} cannot be reached: {error}"))?;
        if let Some(delay) = arguments.delay {
            thread::sleep(Duration::from_millis(delay.into()));
        }
    }
    let Some(port) = &arguments.until_open else { return Ok(None) };
    let door = resolve(host, port, Protocol::Tcp, family).map_err(|error| error.to_string())?;
    match opened::wait(door, arguments.patience.0) {
        Ok(after) => Ok(Some(format!("{door} is open, after {} ms", after.as_millis()))),
        Err(Shut::Silent) => Err(format!(
            "{door} is still shut: nothing answers there\n  the knock may have been wrong or late, or another packet \
             filter is in the way; on the host, portcullis doors tells how far it came"
        )),
        Err(Shut::Refused) => {
            Err(format!("{door} is refused: the host answers, and no service listens at that port"))
        }
    }
}

/// `7000`, `8000:udp`. As with knock 0.8 only the word `udp` means UDP; another one is said, since it may be meant so.
fn item_of(item: &str, is_udp: bool) -> Result<(&str, Protocol), String> {
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
    Ok((port, protocol))
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
        assert_eq!(item_of("7000", false), Ok(("7000", Protocol::Tcp)));
        assert_eq!(item_of("ssh:tcp", false), Ok(("ssh", Protocol::Tcp)));
        assert_eq!(item_of("7000:udp", false), Ok(("7000", Protocol::Udp)));
        assert_eq!(item_of("7000:tcp", true), Ok(("7000", Protocol::Udp)));
        assert!(item_of("7000:UDP", false).is_err());
    }

    #[test]
    fn the_old_options_are_understood() {
        for line in
            ["-u -d 100 -4 -v host 7000", "--udp --delay 5 --ipv6 --verbose host 7000 8000:udp", "-V", "-h"]
        {
            let words = std::iter::once("knock").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["", "host", "-d -5 host 7000", "-x host 7000"] {
            let words = std::iter::once("knock").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
