//! Configurations, ours and the old ones.

use std::path::Path;

use portcullis::config::{Config, fwknop, parse, portsentry, write};

/// Reads the input as our configuration; what is read without a fault reads back the same.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(config) = parse(Path::new("fuzz.toml"), text) {
        let again: Config =
            parse(Path::new("written.toml"), &write(&config)).expect("what we write we can read");
        assert_eq!(again, config);
    }
}

/// Reads the input as a portsentry.conf of either dialect, as an ignore file, and as a list of modes.
pub fn portsentry_files(input: &[u8]) {
    let path = Path::new("fuzz.conf");
    let text = portsentry::decode(input);
    drop(portsentry::read(path, &text, None));
    drop(portsentry::read_modes(path, &text));
    for dialect in [portsentry::Dialect::One, portsentry::Dialect::Two] {
        drop(portsentry::read(path, &text, Some(dialect)));
        drop(portsentry::read_ignore(path, &text, dialect));
    }
}

/// Reads the input as each of fwknop's files.
pub fn fwknop_files(input: &[u8]) {
    let path = Path::new("fuzz.conf");
    let text = portsentry::decode(input);
    drop(fwknop::read_access(path, &text));
    drop(fwknop::read_daemon(path, &text));
    drop(fwknop::read_client(path, &text));
}
