//! What `portcullis check` does: reads a configuration as `run` would and says what it means. An old portsentry.conf
//! is recognised by its content and explained likewise.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::describe::{Description, describe};
use super::fault::Faults;
use super::portsentry::{self, Diagnostic, Explanation};
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
        /// Whether PortSentry's persona could start with it.
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
            let reading = portsentry::read(path, &portsentry::decode(&bytes), None);
            return Ok(Checked::Portsentry {
                means: Box::new(portsentry::explain(&reading.config)),
                usable: reading.is_usable(),
                diagnostics: reading.diagnostics,
            });
        }
    }
    let (config, overrides) = toml::load_with_overrides(files)?;
    Ok(Checked::Portcullis { means: Box::new(describe(&config)), overrides })
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
                        "`portcullis import portsentry` makes a configuration of portcullis from it"
                    ),
                    false => write!(f, "It has faults that must be mended before anything can start with it"),
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
        let ours =
            check(&[file("a", "[judge]\ntrigger = 4\n"), file("b", "[judge]\n\ntrigger = 3\n")]).unwrap();
        let old = check(&[file("c", "TCP_PORTS=“1,2”\nHISTORY_FILE=\"/h\"\n")]).unwrap();
        let broken = check(&[file("d", "SCAN_TRIGGER=\"1\"\n")]).unwrap();
        let fault = check(&[file("e", "[judge]\ntriger = 4\n")]).unwrap_err();
        let missing = check(&[directory.join("nowhere")]).unwrap_err();
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
    }
}
