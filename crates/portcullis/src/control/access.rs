//! Who may ask, and who may change.
//!
//! The kernel decides first: the socket's mode lets in root, its owner and its group. What it let in is looked at
//! again by its credentials, so that a socket whose mode somebody widened gives nothing away.

use std::io;

use portcullis_sys::people;

use super::Peer;
use crate::config::{Config, Control};
use crate::escape::Escaped;

/// The rights at the control socket, in numbers: names were looked up when the configuration was read, so that no slow
/// name service is ever asked while a client waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The user that the daemon acts as; may do everything.
    own_user: u32,
    /// The group that may read, if it exists.
    group: Option<u32>,
    /// Its name, for messages.
    group_name: String,
    /// Users who may change things, beside root and ourselves.
    operators: Vec<u32>,
}

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and change.
    Change,
}

impl Access {
    /// Looks the names of `[control]` up. Beside it stand sentences about what was not found; these are worth a
    /// warning, and no reason not to start.
    #[must_use]
    pub fn of(control: &Control) -> (Access, Vec<String>) {
        let mut warnings = Vec::new();
        let group = people::group_by_name(&control.group).unwrap_or_else(|error| {
            warnings.push(not_asked("group", &control.group, &error));
            None
        });
        // The group of the defaults comes with a package; who runs without one has not asked for it.
        let was_asked_for = control.group != Config::default().control.group;
        if group.is_none() && warnings.is_empty() && was_asked_for {
            warnings.push(format!(
                "there is no group \"{0}\", so only root can use the control socket; to let others read: \
                 groupadd --system {0}",
                Escaped(&control.group)
            ));
        }
        let mut operators = Vec::new();
        for name in &control.operators {
            match people::user_by_name(name) {
                Ok(Some(user)) => operators.push(user),
                Ok(None) => warnings.push(format!(
                    "[control] operators: there is no user \"{}\"; the others hold",
                    Escaped(name)
                )),
                Err(error) => warnings.push(not_asked("user", name, &error)),
            }
        }
        let group_name = control.group.clone();
        (Access { own_user: people::own_user(), group, group_name, operators }, warnings)
    }

    /// The group that the socket file belongs to, if it exists.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        self.group
    }

    /// What this peer may do; `groups` are its supplementary ones.
    #[must_use]
    pub fn right(&self, peer: &Peer, groups: &[u32]) -> Right {
        if peer.user == 0 || peer.user == self.own_user || self.operators.contains(&peer.user) {
            Right::Change
        } else if self.group.is_some_and(|group| peer.group == group || groups.contains(&group)) {
            Right::Read
        } else {
            Right::None
        }
    }

    /// What is said to somebody who lacks `needed`.
    #[must_use]
    pub fn refusal(&self, needed: Right) -> String {
        let group = Escaped(&self.group_name);
        match needed {
            Right::Change => {
                "you may read here, but not change anything; run it as root, or have root add you to \
                              operators in [control]"
                    .to_owned()
            }
            Right::Read | Right::None => format!(
                "only root, the members of group \"{group}\" and the operators in [control] may ask; \
                 run it as root, or have root add you to the group"
            ),
        }
    }
}

fn not_asked(kind: &str, name: &str, error: &io::Error) -> String {
    format!("[control]: the {kind} \"{}\" could not be looked up: {error}; treated as missing", Escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access { own_user: 7, group: Some(50), group_name: "portcullis".into(), operators: vec![1000] }
    }

    fn peer(user: u32, group: u32) -> Peer {
        Peer { user, group, process: None }
    }

    #[test]
    fn the_group_reads_and_only_root_and_operators_change() {
        for (peer, groups, right) in [
            (peer(0, 0), &[][..], Right::Change),
            (peer(7, 7), &[], Right::Change),
            (peer(1000, 1000), &[], Right::Change),
            (peer(1001, 1001), &[4, 50], Right::Read),
            (peer(1001, 50), &[], Right::Read),
            (peer(1001, 1001), &[4], Right::None),
        ] {
            assert_eq!(access().right(&peer, groups), right, "{peer:?}");
        }
    }

    #[test]
    fn without_the_group_nobody_reads_by_accident() {
        let access = Access { group: None, ..access() };
        assert_eq!(access.right(&peer(1001, 50), &[50]), Right::None);
    }

    #[test]
    fn names_that_do_not_exist_are_told_and_grant_nothing() {
        let control = Control {
            socket: "/run/portcullis/ctl.sock".into(),
            group: "no such group".into(),
            operators: vec!["root".into(), "no such user".into()],
        };
        let (access, warnings) = Access::of(&control);
        assert_eq!((access.group, access.operators), (None, vec![0]));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
