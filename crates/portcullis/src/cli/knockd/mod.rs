//! `portcullis knockd …`, and the same program under the name `knockd`: the command line of knockd 0.8, with the exit
//! codes that scripts depend on (measured): 0 for help, version and what is not understood, 1 for every failed start.

mod options;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::control::client::Failure;

/// How every failed start ends (knockd 0.8, measured).
pub const FAILED: u8 = 1;

/// Where the configuration is unless something else is said.
pub const CONFIGURATION: &str = "/etc/knockd.conf";

/// The help, which knockd also prints for whatever it does not understand.
pub const USAGE: &str = "\
usage: knockd [options]
options:
  -i, --interface <int>  network interface to listen on (default \"eth0\")
  -d, --daemon           run as a daemon
  -c, --config <file>    use an alternate config file
  -D, --debug            output debug messages
  -l, --lookup           lookup DNS names (may be a security risk)
  -p, --pidfile          use an alternate pidfile
  -g, --logfile          use an alternate logfile
  -v, --verbose          be verbose
  -4, --only-ip-v4       do not track ipv6
  -V, --version          display version
  -h, --help             this help

Not of the original:
      --state <dir>      keep store and control socket in this directory

portcullis check FILE tells what a knockd.conf means.
";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Listen for knocks.
    Start(Box<KnockdArguments>),
    /// `-h`
    Help,
    /// `-V`
    Version,
}

/// How knockd is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockdArguments {
    /// `-i`; it outranks the file.
    pub interface: Option<String>,
    /// `-d`
    pub is_background: bool,
    /// Whether this process is the one in the background, started by the one that the caller sees.
    pub is_background_child: bool,
    /// `-c`
    pub configuration: PathBuf,
    /// `-D`
    pub is_debug: bool,
    /// `-l`: names beside addresses in the log.
    pub looks_up: bool,
    /// `-p`; the file's outranks it.
    pub pid_file: Option<PathBuf>,
    /// `-g`; the file's outranks it.
    pub log_file: Option<PathBuf>,
    /// `-v`
    pub is_verbose: bool,
    /// `-4`: IPv6 knocks are not heard.
    pub only_four: bool,
    /// Ours, `--state`.
    pub state: Option<PathBuf>,
    /// Where it was called: the file's log and its one-time sequences are meant from there (knockd 0.8, measured).
    pub directory: PathBuf,
}

impl Default for KnockdArguments {
    fn default() -> KnockdArguments {
        KnockdArguments {
            interface: None,
            is_background: false,
            is_background_child: false,
            configuration: PathBuf::from(CONFIGURATION),
            is_debug: false,
            looks_up: false,
            pid_file: None,
            log_file: None,
            is_verbose: false,
            only_four: false,
            state: None,
            directory: PathBuf::from("/"),
        }
    }
}

impl KnockdArguments {
    /// Makes every path hold from any directory, since in the background the working directory is `/`. A pid file is meant
    /// from there (knockd 0.8, measured: it was written when that had become the directory).
    ///
    /// # Errors
    /// The working directory is not known.
    pub fn make_absolute(&mut self) -> io::Result<()> {
        self.directory = std::env::current_dir()?;
        self.configuration = std::path::absolute(&self.configuration)?;
        for path in [&mut self.log_file, &mut self.state].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(())
    }
}

/// The words behind `portcullis knockd`, as they stand.
#[derive(Debug, clap::Args)]
pub struct KnockdWords {
    /// Options of knockd; -h lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub words: Vec<OsString>,
}

/// Does what `words`, those behind the program's name, ask for. Returns the exit code.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    match options::parse(words) {
        Ok(Asked::Start(mut arguments)) => match arguments.make_absolute() {
            Ok(()) => crate::daemon::run_knockd(*arguments, words),
            Err(error) => {
                eprintln!(
                    "knockd: the working directory is not known: {error}; write paths that begin with /"
                );
                FAILED
            }
        },
        Ok(Asked::Help) => print(USAGE),
        Ok(Asked::Version) => print(&format!("knockd 0.8 (portcullis {})\n", env!("CARGO_PKG_VERSION"))),
        Err(why) => {
            eprintln!("knockd: {}", crate::escape::printable(&why));
            // Scripts that ask an older knockd for a newer option get the 0 that they always got.
            print(USAGE)
        }
    }
}

/// Prints a text on standard output, if there is any.
pub(crate) fn print(text: &str) -> u8 {
    match super::output::print(text) {
        Ok(exit) => exit.code(),
        Err(Failure { exit, message }) => {
            if !message.is_empty() {
                eprintln!("knockd: {message}");
            }
            exit.code()
        }
    }
}
