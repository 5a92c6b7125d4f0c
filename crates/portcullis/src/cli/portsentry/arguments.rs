//! What the command line of PortSentry says, in either dialect.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::portsentry::{Dialect, StartMode};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Guard this host.
    Start(Box<PortsentryArguments>),
    /// Print the modes that the files of the system's start say (ours: `--modes`); without files, the usual ones.
    Modes(Vec<PathBuf>),
    /// 2.x `-h`.
    Help,
    /// 2.x `-V`.
    Version,
}

/// How PortSentry is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortsentryArguments {
    /// Told by the words: one-dash modes are 1.x, everything else is 2.x.
    pub dialect: Dialect,
    /// 1.x: at least one (unless [`is_as_configured`](Self::is_as_configured)), of TCP and of UDP at most one each;
    /// in the order given. 2.x: empty.
    pub modes: Vec<StartMode>,
    /// Ours, `--as-configured`: the modes stand in the files that the system's start reads; 1.x.
    pub is_as_configured: bool,
    /// 2.x `--connect`; `--stealth` otherwise.
    pub is_connect: bool,
    /// 2.x `-i`.
    pub interfaces: Interfaces,
    /// `-c`; in 1.x it is ours.
    pub configuration: Option<PathBuf>,
    /// Whether what happens is told on standard output.
    pub logs_to_stdout: bool,
    /// Whether what happens is told to syslog.
    pub logs_to_syslog: bool,
    /// 2.x `-L`: respond also to a packet whose source is its destination. (1.x never asked.) It is taken and changes
    /// nothing, since own addresses are never blocked.
    pub acts_on_local: bool,
    /// 2.x `-S`: watch ports also where a service listens.
    pub ignores_services: bool,
    /// `-v`.
    pub is_verbose: bool,
    /// `-d`.
    pub is_debug: bool,
    /// Whether to go to the background: 1.x unless `--foreground`, 2.x with `-D`.
    pub is_background: bool,
    /// Whether this process is the one in the background, started by the one that the caller sees.
    pub is_background_child: bool,
    /// Ours, `--state`: the directory of store and control socket, in place of the system's.
    pub state: Option<PathBuf>,
    /// Ours, `--pid-file`: where the number of the process is written.
    pub pid_file: Option<PathBuf>,
    /// What of the words goes another way than with the original; said when verbose.
    pub notes: Vec<String>,
    /// What of the words is probably a mistake; always said.
    pub warnings: Vec<String>,
}

/// Which interfaces are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// `ALL_NLO`: all but the loopback one.
    #[default]
    AllButLoopback,
    /// `ALL`, `any`.
    All,
    /// Those named; one that does not exist does not stop the start.
    Named(Vec<String>),
}

impl PortsentryArguments {
    /// What holds in a dialect without any further word.
    #[must_use]
    pub fn of(dialect: Dialect) -> PortsentryArguments {
        PortsentryArguments {
            dialect,
            modes: Vec::new(),
            is_as_configured: false,
            is_connect: false,
            interfaces: Interfaces::default(),
            configuration: None,
            logs_to_stdout: dialect == Dialect::Two,
            logs_to_syslog: dialect == Dialect::One,
            acts_on_local: false,
            ignores_services: false,
            is_verbose: false,
            is_debug: false,
            is_background: dialect == Dialect::One,
            is_background_child: false,
            state: None,
            pid_file: None,
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Makes every path hold from any directory, since in the background the working directory is `/`.
    ///
    /// # Errors
    /// The working directory is not known.
    pub fn make_absolute(&mut self) -> io::Result<()> {
        for path in [&mut self.configuration, &mut self.state, &mut self.pid_file].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(())
    }

    /// The file to read where none was named: Debian's and that of 2.x first, then upstream's of 1.x
    /// (PortSentry 1.2 and 2.0, their documentation).
    #[must_use]
    pub fn configuration_or_default(&self, exists: impl Fn(&Path) -> bool) -> PathBuf {
        let usual = Path::new("/etc/portsentry/portsentry.conf");
        let upstream = Path::new("/usr/local/psionic/portsentry/portsentry.conf");
        match &self.configuration {
            Some(path) => path.clone(),
            None if self.dialect == Dialect::One && !exists(usual) && exists(upstream) => upstream.to_owned(),
            None => usual.to_owned(),
        }
    }
}

/// A command line that says nothing that could be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// Whose usage it offends.
    pub dialect: Dialect,
    /// What is wrong, and what to write instead.
    pub why: String,
    /// The character that 2.x names by its number, for a one-letter option that it does not have.
    pub character: Option<u8>,
}

/// Reads the words behind the program's name.
///
/// # Errors
/// See [`Misuse`].
pub fn parse(words: &[OsString]) -> Result<Asked, Misuse> {
    let before_the_end = || words.iter().take_while(|word| *word != "--");
    let is_one = before_the_end().any(|word| super::options::mode(word).is_some());
    match is_one || before_the_end().any(|word| word == "--as-configured") {
        true => super::one::parse(words),
        false => super::two::parse(words),
    }
}
