//! Where people are logged in from: the remote ends of login sessions whose user has proved himself.
//!
//! Three sources, since each host has another one: logind's session files (any login with PAM), utmp (where there is no
//! logind), and sshd's own processes (where there is neither; that takes the right to look at them). A connection alone
//! says nothing: or a keep-alive to the web server would make anybody immune.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::daemon::peers;

/// Where logind keeps a file for each session (`systemd-logind`, `logind-session.c`: `KEY=VALUE` lines).
pub const LOGIND: &str = "/run/systemd/sessions";

/// Where utmp(5) is.
pub const UTMP: &str = "/run/utmp";

/// A process's title is read up to here.
const TITLE: usize = 256;

/// All of them, each once.
pub fn remote_ends() -> BTreeSet<IpAddr> {
    let mut ends = of_logind(Path::new(LOGIND));
    if let Ok(utmp) = fs::read(UTMP) {
        ends.extend(of_utmp(&utmp, lives));
    }
    ends.extend(of_sshd());
    ends.into_iter().map(|address| address.to_canonical()).collect()
}

fn of_logind(directory: &Path) -> BTreeSet<IpAddr> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.filter_map(|text| remote_end(&text)).collect()
}

/// The remote end of a session that is not about to end. A name in the place of the address was found by asking the
/// stranger's own DNS, and is not believed.
fn remote_end(text: &str) -> Option<IpAddr> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let is_standing = matches!(value("STATE"), Some("active" | "online"));
    let is_users = value("CLASS").is_none_or(|class| class.starts_with("user"));
    let host = value("REMOTE_HOST").filter(|_| is_standing && is_users && value("REMOTE") == Some("1"))?;
    host.split('%').next()?.parse().ok()
}

/// Whether there is such a process, also where that of others is hidden from us (`ProtectProc=` of the unit).
fn lives(process: i32) -> bool {
    let process = Pid::from_raw(process.max(0));
    let answer = process.map(rustix::process::test_kill_process);
    answer.is_some_and(|answer| answer != Err(Errno::SRCH))
}

/// `struct utmp` of glibc (`bits/utmp.h`): how long it is, and where the address stands. Where a program of 64 bits keeps
/// the layout that it had with 32, it is the shorter one (`__WORDSIZE_TIME64_COMPAT32`).
const RECORD: (usize, usize) =
    if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")) {
        (400, 360)
    } else {
        (384, 348)
    };

/// Of a user who has logged in (`USER_PROCESS`).
const OF_A_USER: i16 = 7;

/// The addresses in the records of users whose process still `lives`.
fn of_utmp(file: &[u8], lives: impl Fn(i32) -> bool) -> BTreeSet<IpAddr> {
    let of_record = |record: &[u8]| {
        let kind = i16::from_ne_bytes(*record.first_chunk()?);
        let process = i32::from_ne_bytes(*record.get(4..)?.first_chunk()?);
        let address: [u8; 16] = *record.get(RECORD.1..)?.first_chunk()?;
        if kind != OF_A_USER || !lives(process) {
            return None;
        }
        // An IPv4 address fills the first word only (utmp(5)).
        let (first, rest) = address.split_first_chunk::<4>()?;
        let address = match rest.iter().all(|byte| *byte == 0) {
            true => IpAddr::from(*first),
            false => Ipv6Addr::from(address).into(),
        };
        (!address.is_unspecified()).then_some(address)
    };
    file.chunks_exact(RECORD.0).filter_map(of_record).collect()
}

/// The remote ends of sshd's processes that serve a user: their title names him and his terminal, which one before the
/// login doesn't have (`sshd: anna@pts/0`, OpenSSH's `setproctitle` in `session.c`). The program is looked at too, since
/// a title is anybody's to choose.
fn of_sshd() -> BTreeSet<IpAddr> {
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let serving: Vec<_> = processes
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit()))
        .filter(|path| {
            fs::read(path.join("comm")).is_ok_and(|name| is_sshd(name.trim_ascii_end()))
                && fs::read(path.join("cmdline")).is_ok_and(|title| is_serving(&title))
                && fs::read_link(path.join("exe")).is_ok_and(|program| {
                    program.file_name().map(OsStr::as_encoded_bytes).is_some_and(is_sshd)
                })
        })
        .collect();
    if serving.is_empty() {
        return BTreeSet::new();
    }
    let sockets: HashMap<u64, IpAddr> = peers::by_socket();
    let descriptors = serving.iter().filter_map(|path| fs::read_dir(path.join("fd")).ok()).flatten();
    let inodes = descriptors.filter_map(|entry| inode(&fs::read_link(entry.ok()?.path()).ok()?));
    inodes.filter_map(|inode| sockets.get(&inode).copied()).collect()
}

/// OpenSSH 9.8 gave sessions a program of their own. The kernel cuts a name to 15 bytes; both are shorter.
fn is_sshd(name: &[u8]) -> bool {
    matches!(name, b"sshd" | b"sshd-session")
}

fn is_serving(title: &[u8]) -> bool {
    let title = &title[..title.len().min(TITLE)];
    let user = title.strip_prefix(b"sshd: ").or_else(|| title.strip_prefix(b"sshd-session: "));
    user.is_some_and(|user| user.iter().position(|byte| *byte == b'@').is_some_and(|at| at > 0))
}

/// `socket:[12345]`
fn inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn logind_tells_who_is_logged_in_from_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let usual = "UID=1000\nACTIVE=1\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=";
        for (name, text) in [
            ("1", format!("{usual}203.0.113.9\n")),
            ("2", format!("{usual}2001:db8::9%eth0\n").replace("active", "online")),
            ("3", format!("{usual}203.0.113.10\n").replace("active", "closing")),
            ("4", format!("{usual}203.0.113.11\n").replace("REMOTE=1", "REMOTE=0")),
            ("5", format!("{usual}host.example.org\n")),
            ("6", format!("{usual}203.0.113.12\n").replace("CLASS=user", "CLASS=manager")),
            ("7", String::new()),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        assert_eq!(of_logind(directory.path()), addresses(&["203.0.113.9", "2001:db8::9"]));
        assert!(of_logind(&directory.path().join("absent")).is_empty());
    }

    #[test]
    fn utmp_tells_the_same_of_processes_that_live() {
        let record = |kind: i16, process: i32, address: &[u8]| {
            let mut record = vec![0; RECORD.0];
            let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
            put(0, &kind.to_ne_bytes());
            put(4, &process.to_ne_bytes());
            put(RECORD.1, address);
            record
        };
        let v6: Ipv6Addr = "2001:db8::9".parse().unwrap();
        const DEAD: i16 = 8;
        let file = [
            record(OF_A_USER, 1, &[203, 0, 113, 9]),
            record(OF_A_USER, 1, &v6.octets()),
            record(OF_A_USER, 2, &[203, 0, 113, 10]),
            record(DEAD, 1, &[203, 0, 113, 11]),
            record(OF_A_USER, 1, &[]),
            vec![1; 7],
        ];
        assert_eq!(
            of_utmp(&file.concat(), |process| process == 1),
            addresses(&["203.0.113.9", "2001:db8::9"])
        );
    }

    #[test]
    fn a_process_of_somebody_else_lives_too() {
        assert!(lives(1), "init is seldom ours");
        assert!(!lives(0) && !lives(-1) && !lives(i32::MAX));
    }

    #[test]
    fn only_a_session_behind_the_login_serves_a_user() {
        for (title, is) in [
            ("sshd: anna@pts/0", true),
            ("sshd-session: anna@notty\0\0", true),
            ("sshd: anna [priv]", false),
            ("sshd: anna [net]", false),
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", false),
            ("sshd: @pts/0", false),
            ("/usr/sbin/sshd\0-D\0", false),
            ("", false),
        ] {
            assert_eq!(is_serving(title.as_bytes()), is, "{title}");
        }
    }

    #[test]
    fn a_descriptor_leads_to_its_socket() {
        assert_eq!(inode(Path::new("socket:[4711]")), Some(4711));
        assert_eq!(inode(Path::new("/dev/null")), None);
    }
}
