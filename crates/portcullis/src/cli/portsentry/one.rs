//! The command line of 1.x: mode words. The original took exactly one; here one of TCP and one of UDP may stand side
//! by side, and a few options of 2.x and of ours with them.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::portsentry::Dialect;

use super::arguments::{Asked, Misuse, PortsentryArguments};
use super::options::{Name, Word, Words};
use super::two::set_log_output;

pub(super) fn parse(words: &[OsString]) -> Result<Asked, Misuse> {
    let misuse = |why: String| Misuse { dialect: Dialect::One, why, character: None };
    let mut arguments = PortsentryArguments::of(Dialect::One);
    let mut has_log_output = false;
    for word in Words::new(words) {
        match word.map_err(|unknown| misuse(unknown.why))? {
            Word::Mode(mode) => {
                if let Some(other) = arguments.modes.iter().find(|other| other.is_tcp() == mode.is_tcp()) {
                    let protocol = if mode.is_tcp() { "TCP" } else { "UDP" };
                    let why = format!(
                        "-{} and -{} both watch {protocol}; give one mode a protocol",
                        other.word(),
                        mode.word()
                    );
                    return Err(misuse(why));
                }
                arguments.modes.push(mode);
            }
            Word::Value(Name::ConfigurationFile, path) => arguments.configuration = Some(PathBuf::from(path)),
            Word::Value(Name::State, path) => arguments.state = Some(PathBuf::from(path)),
            Word::Value(Name::PidFile, path) => arguments.pid_file = Some(PathBuf::from(path)),
            Word::Value(Name::LogOutput, place) => {
                set_log_output(&mut arguments, &place, &mut has_log_output).map_err(misuse)?;
            }
            Word::Option(Name::AsConfigured) => arguments.is_as_configured = true,
            Word::Option(Name::Foreground) => arguments.is_background = false,
            Word::Option(Name::BackgroundChild) => arguments.is_background_child = true,
            Word::Option(Name::Verbose) => arguments.is_verbose = true,
            Word::Option(Name::Debug) => arguments.is_debug = true,
            Word::Option(_) | Word::Value(..) => {
                let why = "with a mode of 1.x only -c, -l, -v, -d, --foreground, --pid-file and --state go together";
                return Err(misuse(why.to_owned()));
            }
            Word::Plain(word) => {
                return Err(misuse(format!("\"{}\" is no mode; modes begin with a dash", word.display())));
            }
        }
    }
    if !arguments.is_as_configured && arguments.modes.is_empty() {
        return Err(misuse(
            "a mode is missing: the word that looks like one is the value of an option".to_owned(),
        ));
    }
    if arguments.is_as_configured && !arguments.modes.is_empty() {
        return Err(misuse(
            "--as-configured takes the modes from files, so none can be given with it".to_owned(),
        ));
    }
    if arguments.is_background && arguments.logs_to_stdout {
        let why = "-l stdout is for --foreground; in the background nobody reads standard output";
        return Err(misuse(why.to_owned()));
    }
    Ok(Asked::Start(Box::new(arguments)))
}
