//! The modes that the files of the system's start say, so that no shell has to read them: a typographic quote in
//! `/etc/default/portsentry` was part of the word to the shell.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::portsentry::{StartMode, StartModes, decode, start_modes};

/// Where modes are said: Debian, Red Hat and its how-tos, and the init script of the how-tos with its
/// `portsentry.modes` in the directory of the installation. The first that exists is read.
const FILES: [&str; 5] = [
    "/etc/default/portsentry",
    "/etc/sysconfig/portsentry",
    "/etc/portsentry/portsentry.modes",
    "/usr/local/psionic/portsentry/portsentry.modes",
    "/usr/local/portsentry/portsentry.modes",
];

/// What is started if no file says anything, as by the init script of the how-tos.
const USUAL: [StartMode; 2] = [StartMode::Tcp, StartMode::Udp];

/// The modes to start, and what a person should know of the files.
pub(super) struct ToStart {
    /// In the order in which they are said, each once.
    pub modes: Vec<StartMode>,
    /// For standard error, one a line or paragraph.
    pub said: Vec<String>,
}

/// Reads `files`, or if there are none the first of the usual ones that exists.
///
/// # Errors
/// What is wrong, for standard error: a file cannot be read, a word is no mode, or two modes watch one protocol.
pub(super) fn modes_to_start(files: &[PathBuf]) -> Result<ToStart, Vec<String>> {
    let usual: Vec<PathBuf> = FILES.iter().map(PathBuf::from).filter(|path| path.exists()).take(1).collect();
    let files = if files.is_empty() { &usual } else { files };
    let mut all = StartModes::default();
    let mut said = Vec::new();
    for path in files {
        let read = read(path).map_err(|why| vec![why])?;
        said.extend(read.diagnostics.iter().map(ToString::to_string));
        all.invalid.extend(read.invalid);
        all.modes.extend(read.modes);
    }
    if !all.invalid.is_empty() {
        said.extend(
            all.invalid.iter().map(|word| format!("{} is not a valid mode.", crate::escape::printable(word))),
        );
        return Err(said);
    }
    if files.is_empty() {
        all.modes = USUAL.to_vec();
        let first = FILES[0];
        said.push(format!("portsentry: no file says the modes, so they are tcp and udp; write TCP_MODE=\"tcp\" and UDP_MODE=\"udp\", or other modes, into {first}"));
    }
    let mut seen = BTreeSet::new();
    all.modes.retain(|mode| seen.insert(*mode));
    for is_tcp in [true, false] {
        let mut same = all.modes.iter().filter(|mode| mode.is_tcp() == is_tcp);
        if let (Some(first), Some(second)) = (same.next(), same.next()) {
            let protocol = if is_tcp { "TCP" } else { "UDP" };
            said.push(format!(
                "portsentry: {} and {} both watch {protocol}; keep one of them",
                first.word(),
                second.word()
            ));
            return Err(said);
        }
    }
    Ok(ToStart { modes: all.modes, said })
}

fn read(path: &Path) -> Result<StartModes, String> {
    let fault = |why: String| format!("portsentry: {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    Ok(start_modes(path, &decode(&bytes)))
}

/// `--modes`: prints each mode on a line of its own.
pub(super) fn print_modes(files: &[PathBuf]) -> u8 {
    match modes_to_start(files) {
        Ok(ToStart { modes, said }) => {
            said.iter().for_each(|text| eprintln!("{text}"));
            let words: String = modes.iter().flat_map(|mode| [mode.word(), "\n"]).collect();
            super::print(&words)
        }
        Err(said) => {
            said.iter().for_each(|text| eprintln!("{text}"));
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StartMode::{Atcp, Audp, Tcp, Udp};

    fn modes(texts: &[&str]) -> Result<Vec<StartMode>, String> {
        let directory = tempfile::tempdir().unwrap();
        let write = |(index, text): (usize, &&str)| {
            let path = directory.path().join(index.to_string());
            std::fs::write(&path, text).unwrap();
            path
        };
        let files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
        modes_to_start(&files).map(|to_start| to_start.modes).map_err(|said| said.join("\n"))
    }

    #[test]
    fn modes_of_files_are_one_a_protocol_or_refused() {
        assert_eq!(modes(&["TCP_MODE=\"tcp\"\nUDP_MODE=\"udp\"\n"]), Ok(vec![Tcp, Udp]));
        assert_eq!(modes(&["audp\natcp # first\n"]), Ok(vec![Audp, Atcp]), "as they stand there");
        assert_eq!(modes(&["TCP_MODE=\"\"\nUDP_MODE=\"\"\n"]), Ok(vec![]));
        assert_eq!(modes(&["MODE=none\n"]), Ok(vec![]));
        assert_eq!(modes(&["MODE=tcp", "MODE=tcp"]), Ok(vec![Tcp]));
        let refused = modes(&["TCP_MODE=\"fast\"\n"]).unwrap_err();
        assert!(refused.ends_with("\nfast is not a valid mode."), "{refused}");
        assert!(modes(&["tcp stcp"]).unwrap_err().contains("tcp and stcp both watch TCP"));
        assert!(modes_to_start(&["/nowhere/at/all".into()]).is_err_and(|said| said[0].contains("/nowhere")));
    }
}
