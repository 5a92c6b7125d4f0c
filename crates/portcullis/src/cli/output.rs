//! What verbs print.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use crate::control::client::Failure;
use crate::exit::Exit;

/// Standard output. A reader that has seen enough (`portcullis bans | head`) ends the verb, and that is no fault.
pub struct Output {
    stream: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Output {
    /// Begins to write.
    pub fn new() -> Output {
        let stream = io::stdout().lock();
        let is_terminal = stream.is_terminal();
        Output { stream: BufWriter::new(stream), is_terminal }
    }

    /// Whether a person is watching.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Ends the verb; without a word if the reader has gone.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stream, "{line}").map_err(|error| cannot_write(&error))
    }

    /// Brings out what is still held back, and goes on.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stream.flush().map_err(|error| cannot_write(&error))
    }

    /// Brings out what is still held back.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn finish(mut self) -> Result<(), Failure> {
        self.stream.flush().map_err(|error| cannot_write(&error))
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure { exit: Exit::Done, message: String::new() }
    } else {
        Failure { exit: Exit::Failed, message: format!("cannot write to standard output: {error}") }
    }
}

/// Writes a whole text.
///
/// # Errors
/// As [`Output::line`].
pub fn print(text: &str) -> Result<Exit, Failure> {
    let mut output = Output::new();
    output.line(text.trim_end())?;
    output.finish()?;
    Ok(Exit::Done)
}
