//! `portcullis portsentry …`, and the same program under the name `portsentry`: the command lines of PortSentry 1.x and
//! 2.x, told apart by their words, with the exit codes and texts that scripts depend on.

mod arguments;
mod one;
mod options;
mod start_files;
#[cfg(test)]
mod tests;
mod two;

pub use self::arguments::{Asked, Interfaces, Misuse, PortsentryArguments, parse};

use std::ffi::OsString;

use crate::config::portsentry::Dialect;
use crate::control::client::Failure;

/// How every failed start of 1.x ends (PortSentry 1.2, measured).
pub const FAILED_ONE: u8 = 255;

/// How every failed start of 2.x ends (PortSentry 2.0.7, measured).
pub const FAILED_TWO: u8 = 1;

/// What 1.x says to those who are not root.
pub const NOT_ROOT: &str = "You need to be root to run this.";

/// What 2.x prints at its end, whatever that was.
pub const SHUTTING_DOWN_TWO: &str = "Portsentry is shutting down";

/// The hidden option by which the process in the background knows itself.
pub const BACKGROUND_CHILD: &str = "background-child";

/// The first line of every run of 2.x. Who reads a number from it finds that of the PortSentry whose ways these are.
#[must_use]
pub fn version_line() -> String {
    format!("Portsentry 2.0.7 (portcullis {})", env!("CARGO_PKG_VERSION"))
}

/// The usage of 1.x, on standard output.
pub const USAGE_ONE: &str = concat!(
    "PortSentry - port scan detector, as portcullis ",
    env!("CARGO_PKG_VERSION"),
    " does it\n",
    "Written anew; it has nothing of the original but its words and its files\n",
    "Licence: MIT or Apache-2.0\n",
    "Version: 1.2\n",
    "\n",
    "usage: portsentry [-tcp -udp -stcp -atcp -sudp -audp]\n",
);

/// The help of 2.x, behind the version line.
pub const HELP_TWO: &str = "\
Usage: portsentry [OPTION]...
       portsentry -tcp|-stcp|-atcp|-udp|-sudp|-audp [OPTION]...   as PortSentry 1.x; one mode a protocol

Modes:
      --stealth                  watch ports without opening them (the default)
      --connect                  open the listed ports, and tell of whoever connects

Options:
  -m, --method=pcap|raw          taken for old habits' sake; both are the packet ring of portcullis
  -i, --interface=NAME           watch this interface; may be repeated. ALL_NLO, ALL, any: all but loopback, which
                                 is the default; loopback is this host itself
  -l, --logoutput=stdout|syslog  where to tell what happens; may be repeated [default: stdout]
  -c, --configfile=PATH          [default: /etc/portsentry/portsentry.conf]
  -D, --daemon                   go to the background, and tell it to syslog
  -L, --disable-local-check      taken, and said to change nothing: this host itself is never blocked
  -S, --disable-service-check    watch ports also where a service listens
  -d, --debug                    tell what only a developer wants to know
  -v, --verbose                  tell more
  -h, --help                     print this
  -V, --version                  print the version

Not of the original:
      --foreground               stay in the foreground (modes of 1.x go to the background by themselves)
      --pid-file FILE            write the number of the process there while it runs
      --state DIR                keep store and control socket in this directory
      --as-configured            the modes of /etc/default/portsentry, /etc/sysconfig/portsentry or portsentry.modes
      --modes [FILE]...          print those modes

portcullis check FILE tells what a portsentry.conf means.
";

/// The words behind `portcullis portsentry`, as they stand.
#[derive(Debug, clap::Args)]
pub struct PortsentryWords {
    /// Options of PortSentry 1.x or 2.x; -h lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub words: Vec<OsString>,
}

/// Does what `words`, those behind the program's name, ask for. Returns the exit code.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    let is_child = words.iter().any(|word| *word == format!("--{BACKGROUND_CHILD}").as_str());
    let asked = parse(words);
    let is_two = match &asked {
        Ok(Asked::Start(arguments)) => arguments.dialect == Dialect::Two,
        Ok(Asked::Modes(_)) => false,
        Ok(Asked::Help | Asked::Version) => true,
        Err(misuse) => misuse.dialect == Dialect::Two,
    };
    // Once a start: what the process in the background prints comes to the same terminal.
    if is_two && !is_child {
        print(&format!("{}\n", version_line()));
    }
    match asked {
        Ok(Asked::Start(arguments)) => start(*arguments, words, is_child),
        Ok(Asked::Modes(files)) => start_files::print_modes(&files),
        Ok(Asked::Help) => print(&format!("{HELP_TWO}\n{SHUTTING_DOWN_TWO}\n")),
        Ok(Asked::Version) => print(&format!("{SHUTTING_DOWN_TWO}\n")),
        Err(misuse) => {
            let (out, err) = misuse.said();
            eprint!("{err}");
            print(&out);
            if misuse.dialect == Dialect::One {
                crate::daemon::farewell(Dialect::One, None);
            }
            misuse.code()
        }
    }
}

fn start(mut arguments: PortsentryArguments, words: &[OsString], is_child: bool) -> u8 {
    let tell = |text: &str| {
        if !is_child {
            eprintln!("{text}");
        }
    };
    for warning in &arguments.warnings {
        tell(&format!("portsentry: {}", crate::escape::printable(warning)));
    }
    if arguments.is_verbose {
        arguments
            .notes
            .iter()
            .for_each(|note| tell(&format!("portsentry: {}", crate::escape::printable(note))));
    }
    if arguments.is_as_configured {
        match start_files::modes_to_start(&[]) {
            Ok(to_start) => {
                to_start.said.iter().for_each(|text| tell(text));
                if to_start.modes.is_empty() {
                    tell("portsentry: the files say no mode, so nothing is started");
                    return 0;
                }
                arguments.modes = to_start.modes;
                // Its name and its files are the same whichever is said first.
                arguments.modes.sort_unstable();
            }
            Err(said) => {
                said.iter().for_each(|text| tell(text));
                return 1;
            }
        }
    }
    if let Err(error) = arguments.make_absolute() {
        tell(&format!(
            "portsentry: the working directory is not known: {error}; write paths that begin with /"
        ));
        return match arguments.dialect {
            Dialect::One => FAILED_ONE,
            Dialect::Two => FAILED_TWO,
        };
    }
    crate::daemon::run_portsentry(arguments, words)
}

/// Prints a text on standard output, if there is any.
fn print(text: &str) -> u8 {
    if text.is_empty() {
        return 0;
    }
    match super::output::print(text) {
        Ok(exit) => exit.code(),
        Err(Failure { exit, message }) => {
            if !message.is_empty() {
                eprintln!("portsentry: {message}");
            }
            exit.code()
        }
    }
}

impl Misuse {
    /// The exit code of the dialect.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self.dialect {
            Dialect::One => FAILED_ONE,
            Dialect::Two => FAILED_TWO,
        }
    }

    /// What goes to standard output and to standard error: in 1.x its usage and our reason, in 2.x (behind the
    /// version line) the reason, and the sentence of the original that names the option by its number.
    #[must_use]
    pub fn said(&self) -> (String, String) {
        let why = format!("portsentry: {}\n", crate::escape::printable(&self.why));
        match self.dialect {
            Dialect::One => (USAGE_ONE.to_owned(), why),
            Dialect::Two => {
                let number = self
                    .character
                    .map(|letter| format!("Unknown argument, getopt returned character code 0{letter:o}\n"));
                let mend = "portsentry -h lists the options\n";
                (format!("{SHUTTING_DOWN_TWO}\n"), format!("{why}{}{mend}", number.unwrap_or_default()))
            }
        }
    }
}
