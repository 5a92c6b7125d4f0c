//! The command line of 2.x.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::config::portsentry::Dialect;

use super::arguments::{Asked, Interfaces, Misuse, PortsentryArguments};
use super::options::{Name, Word, Words};

/// Names of interfaces are shorter (`IFNAMSIZ`, net/if.h).
const INTERFACE_NAME: usize = 16;

pub(super) fn parse(words: &[OsString]) -> Result<Asked, Misuse> {
    let misuse = |why: String| Misuse { dialect: Dialect::Two, why, character: None };
    let mut arguments = PortsentryArguments::of(Dialect::Two);
    let (mut mode, mut interfaces, mut has_log_output) = (None, None, false);
    let (mut has_method, mut asks_modes, mut plain) = (false, false, Vec::new());
    for word in Words::new(words) {
        let word = word.map_err(|unknown| Misuse { character: unknown.character, ..misuse(unknown.why) })?;
        match word {
            Word::Option(name @ (Name::Stealth | Name::Connect)) => {
                if mode.replace(name).is_some() {
                    return Err(misuse("give one mode: --stealth (the usual one) or --connect".to_owned()));
                }
            }
            Word::Value(Name::Method, method) => {
                has_method = true;
                arguments.notes.push(method_note(&method).map_err(misuse)?);
            }
            Word::Value(Name::Interface, name) => {
                interfaces = Some(with_interface(interfaces, &name).map_err(misuse)?);
            }
            Word::Value(Name::LogOutput, place) => {
                set_log_output(&mut arguments, &place, &mut has_log_output).map_err(misuse)?;
            }
            Word::Value(Name::ConfigurationFile, path) => arguments.configuration = Some(PathBuf::from(path)),
            Word::Value(Name::State, path) => arguments.state = Some(PathBuf::from(path)),
            Word::Value(Name::PidFile, path) => arguments.pid_file = Some(PathBuf::from(path)),
            Word::Option(Name::Daemon) => arguments.is_background = true,
            Word::Option(Name::Foreground) => arguments.is_background = false,
            Word::Option(Name::BackgroundChild) => arguments.is_background_child = true,
            Word::Option(Name::DisableLocalCheck) => {
                arguments.acts_on_local = true;
                let what = "-L changes nothing here: this host itself is never blocked";
                arguments.warnings.push(what.to_owned());
            }
            Word::Option(Name::DisableServiceCheck) => arguments.ignores_services = true,
            Word::Option(Name::Debug) => arguments.is_debug = true,
            Word::Option(Name::Verbose) => arguments.is_verbose = true,
            Word::Option(Name::Help) => return Ok(Asked::Help),
            Word::Option(Name::Version) => return Ok(Asked::Version),
            Word::Option(Name::Modes) => asks_modes = true,
            Word::Plain(word) => plain.push(word),
            Word::Mode(_) | Word::Option(Name::AsConfigured) => {
                unreachable!("with one of these the dialect is 1.x, before any `--`")
            }
            Word::Option(_) | Word::Value(..) => unreachable!("options take a value, or never"),
        }
    }
    if asks_modes {
        return Ok(Asked::Modes(plain.into_iter().map(PathBuf::from).collect()));
    }
    arguments.is_connect = mode == Some(Name::Connect);
    if arguments.is_connect && has_method {
        arguments
            .notes
            .push("--method says how --stealth sees packets; --connect has no use for it".to_owned());
    }
    arguments.interfaces = interfaces.unwrap_or_default();
    if arguments.is_background {
        (arguments.logs_to_stdout, arguments.logs_to_syslog) = (false, true);
    }
    for word in plain {
        arguments.warnings.push(format!("\"{}\" is no option and is passed over", word.display()));
    }
    Ok(Asked::Start(Box::new(arguments)))
}

/// 2.x compared only the beginning, so `rawhide` is raw (PortSentry 2.0.7, measured).
fn method_note(method: &OsStr) -> Result<String, String> {
    let method = method.to_string_lossy();
    match ["pcap", "raw"].into_iter().find(|known| method.starts_with(known)) {
        Some(known) => Ok(format!(
            "--method={known}: pcap and raw both mean the packet ring of portcullis, which sees what either saw"
        )),
        None => Err(format!("--method={method}: the methods are pcap and raw")),
    }
}

/// The interfaces said so far and one more; a name for all of them stands alone.
fn with_interface(said: Option<Interfaces>, name: &OsStr) -> Result<Interfaces, String> {
    let shown = name.to_string_lossy();
    let one = match &*shown {
        "ALL" | "any" => Interfaces::All,
        "ALL_NLO" => Interfaces::AllButLoopback,
        _ if shown.is_empty() || name.len() >= INTERFACE_NAME => {
            return Err(format!(
                "-i {shown}: the name of an interface has 1 to {} bytes",
                INTERFACE_NAME - 1
            ));
        }
        _ => match name.to_str() {
            Some(name) => Interfaces::Named(vec![name.to_owned()]),
            None => return Err(format!("-i {shown}: the name of an interface is plain text")),
        },
    };
    match (said, one) {
        (None, one) => Ok(one),
        (Some(Interfaces::Named(mut names)), Interfaces::Named(more)) => {
            names.extend(more);
            Ok(Interfaces::Named(names))
        }
        (Some(said), one) if said == one => Ok(one),
        _ => Err("-i takes either names of interfaces or one of ALL, ALL_NLO and any".to_owned()),
    }
}

/// `-l`: the first one takes the place of the dialect's usual output, a second one adds to it.
pub(super) fn set_log_output(
    arguments: &mut PortsentryArguments,
    place: &OsStr,
    has_log_output: &mut bool,
) -> Result<(), String> {
    if !std::mem::replace(has_log_output, true) {
        (arguments.logs_to_stdout, arguments.logs_to_syslog) = (false, false);
    }
    match place.to_str() {
        Some("stdout") => arguments.logs_to_stdout = true,
        Some("syslog") => arguments.logs_to_syslog = true,
        _ => return Err(format!("-l {}: the outputs are stdout and syslog", place.to_string_lossy())),
    }
    Ok(())
}
