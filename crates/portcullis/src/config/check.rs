//! What `portcullis check` does: reads a configuration as `run` would and says what it means. An old portsentry.conf
//! or knockd.conf is recognised by its content and explained likewise.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::describe::{Description, describe};
use super::fault::{Fault, Faults};
use super::import;
use super::knockd::{self, DoorExplained};
use super::portsentry::{self, Diagnostic, Dialect, Explanation, PortsentryConfig, StartMode, Weight};
use super::toml::{self, Override};

/// A configuration that could be read, and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Checked {
    /// One of ours, without faults.
    Portcullis {
        /// What it means.
        #[serde(flatten)]
        means: Box<Description>,
        /// Keys that a later file has overridden.
        overrides: Vec<Override>,
    },
    /// A portsentry.conf.
    Portsentry {
        /// What it means.
        #[serde(flatten)]
        means: Box<Explanation>,
        /// What is to be known of its lines.
        diagnostics: Vec<Diagnostic>,
        /// Whether it can be started with.
        usable: bool,
    },
    /// A knockd.conf.
    Knockd {
        /// What each door means.
        doors: Vec<DoorExplained>,
        /// What is to be known of its lines.
        diagnostics: Vec<Diagnostic>,
        /// Whether it can be started with.
        usable: bool,
    },
    /// A list of whom PortSentry never blocks: `portsentry.ignore`, `portsentry.ignore.static`.
    Ignored {
        /// Who.
        ignored: Vec<String>,
        /// What is to be known of its lines.
        diagnostics: Vec<Diagnostic>,
    },
    /// A file that says in which modes PortSentry starts, such as `/etc/default/portsentry`.
    Modes {
        /// The words of the modes.
        modes: Vec<&'static str>,
        /// What is to be known of its lines.
        diagnostics: Vec<Diagnostic>,
        /// Whether every word is a mode; otherwise nothing is started.
        usable: bool,
    },
}

/// Reads `files` as [`super::load`] does, or, if there is one file and it is a portsentry.conf, that.
///
/// # Errors
/// All faults of all files; those of a portsentry.conf are in its diagnostics.
pub fn check(files: &[PathBuf]) -> Result<Checked, Faults> {
    if let [path] = files {
        let bytes = toml::read_bytes(path).map_err(|fault| Faults(vec![*fault]))?;
        if portsentry::is_portsentry(&bytes) {
            let mut reading = portsentry::read(path, &portsentry::decode(&bytes), None);
            let usable = reading.is_usable();
            reading.diagnostics.extend(ignored(&reading.config));
            return Ok(Checked::Portsentry {
                means: Box::new(portsentry::explain(&reading.config)),
                usable,
                diagnostics: reading.diagnostics,
            });
        }
        let text = portsentry::decode(&bytes);
        if knockd::is_knockd(&bytes) {
            let reading = knockd::read(path, &text);
            return Ok(Checked::Knockd {
                doors: knockd::explain(&reading.config),
                usable: reading.is_usable(),
                diagnostics: reading.diagnostics,
            });
        }
        if let Some(name) = import::is_fwknops(path, &text) {
            let message = format!("this is a file of fwknop ({name}), which nothing is started with here");
            let mend = "portcullis import fwknop access.conf fwknopd.conf .fwknoprc -o FILE makes doors of its users, and \
                        says what each line comes to";
            return Err(Faults(vec![Fault::of_file(path, message, mend)]));
        }
        if portsentry::is_modes(&text) {
            let read = portsentry::start_modes(path, &text);
            return Ok(Checked::Modes {
                modes: read.modes.into_iter().map(StartMode::word).collect(),
                diagnostics: read.diagnostics,
                usable: read.invalid.is_empty(),
            });
        }
    }
    if let [path] = files
        && let Some(dialect) = ignore_file(path)
    {
        let bytes = toml::read_bytes(path).map_err(|fault| Faults(vec![*fault]))?;
        let (entries, diagnostics) = portsentry::read_ignore(path, &portsentry::decode(&bytes), dialect);
        let ignored = entries.into_iter().map(|entry| entry.prefix.to_string()).collect();
        return Ok(Checked::Ignored { ignored, diagnostics });
    }
    let (config, overrides) = toml::load_for_run(files)?;
    Ok(Checked::Portcullis { means: Box::new(describe(&config)), overrides })
}

/// Whether a file is one of those that say whom PortSentry never blocks. Such a list looks like nothing, so its name
/// tells: `portsentry.ignore` and `portsentry.ignore.static`.
fn ignore_file(path: &Path) -> Option<Dialect> {
    let name = path.file_name()?.to_str()?;
    (name == "portsentry.ignore" || name.starts_with("portsentry.ignore.")).then_some(Dialect::One)
}

/// What is to be known of the ignore file that a portsentry.conf names.
fn ignored(config: &PortsentryConfig) -> Vec<Diagnostic> {
    let Some(path) = &config.ignore_file else { return Vec::new() };
    match toml::read_bytes(path) {
        Ok(bytes) => portsentry::read_ignore(path, &portsentry::decode(&bytes), config.dialect).1,
        Err(_) if portsentry::is_made_at_the_start(path) => Vec::new(),
        Err(fault) => {
            let mend =
                "write the addresses that shall never be blocked into that file, or take IGNORE_FILE out";
            vec![Diagnostic { weight: Weight::Doubtful, fault: Fault { mend: mend.to_owned(), ..*fault } }]
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checked::Portcullis { means, overrides } => {
                for over in overrides {
                    writeln!(f, "{}: [{}] {} overrides {}", over.by, over.section, over.key, over.over)?;
                }
                write!(f, "{means}")
            }
            Checked::Portsentry { means, diagnostics, usable } => {
                for diagnostic in diagnostics {
                    writeln!(f, "{diagnostic}\n")?;
                }
                write!(f, "{means}")?;
                match usable {
                    true => write!(
                        f,
                        "`portcullis portsentry` starts with it as it is, and `portcullis import portsentry` makes a \
                         configuration of portcullis from it"
                    ),
                    false => write!(f, "It has faults that must be mended before anything can start with it"),
                }
            }
            Checked::Knockd { doors, diagnostics, usable } => {
                for diagnostic in diagnostics {
                    writeln!(f, "{diagnostic}\n")?;
                }
                doors.iter().try_for_each(|door| writeln!(f, "{door}"))?;
                match (usable, doors.is_empty()) {
                    (true, true) => write!(f, "It has no door"),
                    (true, false) => {
                        write!(f, "`portcullis import knockd` makes a configuration of portcullis from it")
                    }
                    (false, _) => {
                        write!(f, "It has faults that must be mended before anything can start with it")
                    }
                }
            }
            Checked::Ignored { ignored, diagnostics } => {
                for diagnostic in diagnostics {
                    writeln!(f, "{diagnostic}\n")?;
                }
                match ignored.is_empty() {
                    true => write!(f, "It ignores nobody"),
                    false => write!(f, "Never blocked is {}", ignored.join(", ")),
                }
            }
            Checked::Modes { modes, diagnostics, usable } => {
                for diagnostic in diagnostics {
                    writeln!(f, "{diagnostic}\n")?;
                }
                match (usable, modes.as_slice()) {
                    (false, _) => write!(f, "Nothing is started with it: a word is no mode"),
                    (true, []) => write!(f, "It starts no mode of PortSentry"),
                    (true, modes) => write!(f, "It starts portsentry -{}", modes.join(" -")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_configuration_is_recognised_by_its_content() {
        let directory = std::env::temp_dir().join(format!("portcullis-check-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ours = check(&[
            file("a", "[judge]\ntrigger = 4\nby = \"trigger\"\n"),
            file("b", "[judge]\n\ntrigger = 3\n"),
        ])
        .unwrap();
        let old = check(&[file("c", "TCP_PORTS=“1,2”\nHISTORY_FILE=\"/h\"\n")]).unwrap();
        let broken = check(&[file("d", "SCAN_TRIGGER=\"1\"\n")]).unwrap();
        let fault = check(&[file("e", "[judge]\ntriger = 4\n")]).unwrap_err();
        let missing = check(&[directory.join("nowhere")]).unwrap_err();
        let ignore = file("ignore", "10.0.0.1\nhost.example\n");
        let named = format!("TCP_PORTS=\"1\"\nIGNORE_FILE=\"{}\"\n", ignore.display());
        let with_ignore = check(&[file("f", &named)]).unwrap();
        let without_ignore = check(&[file("g", &named.replace("ignore\"", "ign0re\""))]).unwrap();
        let listed = check(&[file("portsentry.ignore.static", "10.0.0.1/8 # own\n2001:db8::1\n")]).unwrap();
        let modes = check(&[file("h", "TCP_MODE=”tcp”\nUDP_MODE=\"audp\"\n")]).unwrap();
        let no_modes = check(&[file("i", "TCP_MODE=\"udp\"\n")]).unwrap();
        for (name, text) in [
            ("access.conf", "# users\nSOURCE  ANY\nKEY_BASE64 c2VjcmV0\n"),
            ("fwknopd.conf", "# nothing but comments\n"),
            ("j", "PCAP_INTF eth0;\n"),
            (".fwknoprc", "[default]\nSPA_SERVER host.example\nKEY_BASE64 c2VjcmV0\n"),
        ] {
            let text = check(&[file(name, text)]).unwrap_err().to_string();
            assert!(text.contains("portcullis import fwknop") && !text.contains("c2VjcmV0"), "{text}");
        }
        fs::remove_dir_all(&directory).unwrap();

        let text = ours.to_string();
        assert!(text.contains("/b:3: [judge] trigger overrides ") && text.contains("/a:2\n"), "{text}");
        assert!(text.contains("A scan is   3 distinct ports"), "{text}");
        let json = serde_json::to_value(&ours).unwrap();
        assert_eq!((&json["kind"], &json["judges"]["trigger"]), (&"portcullis".into(), &3.into()));
        assert_eq!(json["overrides"][0]["key"], "trigger");

        let text = old.to_string();
        assert!(text.contains("c:1:11: read as meant: typographic quotes"), "{text}");
        assert!(text.contains("Written for PortSentry 2.x") && text.ends_with("from it"), "{text}");
        let json = serde_json::to_value(&old).unwrap();
        assert_eq!((&json["kind"], &json["usable"]), (&"portsentry".into(), &true.into()));
        assert_eq!(json["diagnostics"][0]["weight"], "repaired");
        assert_eq!(json["diagnostics"][0]["line"], 1);

        assert!(broken.to_string().ends_with("before anything can start with it"));
        assert!(fault.to_string().contains("did you mean \"trigger\"?"));
        assert!(missing.to_string().contains("there is no such file"));

        let text = listed.to_string();
        assert!(text.ends_with("Never blocked is 10.0.0.0/8, 2001:db8::1/128"), "{text}");
        let text = with_ignore.to_string();
        assert!(text.contains("/ignore:2:1: left out: \"host.example\""), "{text}");
        let text = without_ignore.to_string();
        assert!(text.contains("/ign0re: doubtful: there is no such file"), "{text}");
        let text = modes.to_string();
        assert!(
            text.contains("typographic quotes") && text.ends_with("It starts portsentry -tcp -audp"),
            "{text}"
        );
        assert!(no_modes.to_string().ends_with("a word is no mode"));
        assert_eq!(serde_json::to_value(&modes).unwrap()["modes"][1], "audp");
    }
}
