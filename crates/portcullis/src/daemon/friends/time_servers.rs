//! The time servers in use: those that chrony, ntpd and systemd-timesyncd are told to ask, and whoever a socket of ours
//! is connected with on NTP's port.
//!
//! A name of a pool leads elsewhere each time that it is asked for, so that the servers that an unconnected socket asks
//! are not all found. Nothing hangs on that: an answer to our question passes whatever is known of its sender.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use portcullis_core::net::{PortSet, Protocol};
use portcullis_sys::sock_diag::Sockets;

use super::names::Names;
use crate::config::{HOST_NAMES, is_host_name};

/// NTP's port (RFC 5905 §7.2).
const NTP: u16 = 123;

/// Sockets that are looked through.
const SOCKETS: usize = 4096;

/// What the programs read (chrony.conf(5), ntp.conf(5)), and the directories whose files belong to it.
const FILES: [&str; 4] =
    ["/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/ntp.conf", "/etc/ntpsec/ntp.conf"];
const DIRECTORIES: [&str; 5] =
    ["/etc/chrony/conf.d", "/etc/chrony/sources.d", "/etc/chrony.d", "/run/chrony-dhcp", "/etc/ntpsec/ntp.d"];

/// The same of systemd-timesyncd (timesyncd.conf(5)).
const TIMESYNCD: [&str; 2] = ["/etc/systemd/timesyncd.conf", "/etc/systemd/timesyncd.conf.d"];

/// Their addresses, as far as they are known now.
pub fn in_use(names: &Names) -> BTreeSet<IpAddr> {
    let mut servers = names.addresses(&named()).into_iter().collect::<BTreeSet<IpAddr>>();
    let connected = Sockets::open().and_then(|mut sockets| {
        sockets.established(Protocol::Udp, &PortSet::from_ranges([(0, u16::MAX)]), SOCKETS)
    });
    // Without the kernel's word the files have to do.
    let sessions = connected.map(|found| found.first).unwrap_or_default();
    servers.extend(sessions.iter().filter(|own| own.remote.port() == NTP).map(|own| own.remote.ip()));
    servers
}

/// The servers that files name, by name or address.
#[must_use]
pub fn named() -> Vec<String> {
    let mut named = Vec::new();
    for text in FILES.map(PathBuf::from).into_iter().chain(files_in(&DIRECTORIES)).filter_map(read) {
        named.extend(servers(&text));
    }
    let (file, directory) = (TIMESYNCD[0], [TIMESYNCD[1]]);
    for text in [PathBuf::from(file)].into_iter().chain(files_in(&directory)).filter_map(read) {
        named.extend(timesyncd_servers(&text));
    }
    named.retain(|name| name.parse::<IpAddr>().is_ok() || is_host_name(name));
    named.sort_unstable();
    named.dedup();
    named.truncate(HOST_NAMES);
    named
}

fn files_in(directories: &[&str]) -> Vec<PathBuf> {
    let entries = directories.iter().filter_map(|path| fs::read_dir(Path::new(path)).ok()).flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `server`, `pool` and `peer` of chrony and ntpd.
fn servers(text: &str) -> Vec<String> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next()?, "server" | "pool" | "peer").then_some(())?;
        // ntpd writes which family it means before the name.
        words.find(|word| !matches!(*word, "-4" | "-6" | "ipv4" | "ipv6")).map(str::to_owned)
    };
    text.lines().filter_map(server).collect()
}

/// `NTP=` and `FallbackNTP=`.
fn timesyncd_servers(text: &str) -> Vec<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "NTP" | "FallbackNTP").then(|| value.to_owned())
    };
    let values = text.lines().filter_map(value);
    values.flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_chrony_and_ntpd_do() {
        let text = "# server 192.0.2.1\npool 2.debian.pool.ntp.org iburst\nserver 192.0.2.2\n  peer -6 ntp.example\n\
                    driftfile /var/lib/ntp/drift\nserver\n";
        assert_eq!(servers(text), ["2.debian.pool.ntp.org", "192.0.2.2", "ntp.example"]);
    }

    #[test]
    fn servers_are_read_as_timesyncd_does() {
        let text = "[Time]\nNTP=192.0.2.1 ntp.example\n#NTP=192.0.2.9\nFallbackNTP = 2001:db8::1\nRootDistanceMaxSec=5\n";
        assert_eq!(timesyncd_servers(text), ["192.0.2.1", "ntp.example", "2001:db8::1"]);
    }
}
