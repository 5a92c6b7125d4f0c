//! Notices when somebody else changes our table.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::check_name;
use super::layout::FAMILY;
use super::numbers::TABLE;
use crate::netlink::message::{self, Attributes};
use crate::netlink::socket::{Received, Socket};
use crate::netlink::{NetlinkError, Request};

/// What happened to our table since the last look, besides what we did ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing. Elements whose time has run out raise no event.
    None,
    /// Somebody made, changed or deleted the table or something in it.
    Touched,
    /// Events were lost: compare now.
    Lost,
}

/// Listens to the events of nftables.
///
/// While anybody on the machine listens, also in another namespace, the kernel writes an event for each element
/// that changes, even if nobody gets it: about 2 µs each. So put a long list of stored bans in before this is
/// opened, and compare once ([`super::Nftables::is_intact`]) after.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    table: String,
    own: Vec<u32>,
}

impl Monitor {
    /// Listens for changes of the table `inet table`.
    ///
    /// # Errors
    /// [`NetlinkError::TableName`]; [`NetlinkError::Open`] without CAP_NET_ADMIN.
    pub fn open(table: &str) -> Result<Monitor, NetlinkError> {
        check_name(table)?;
        let socket = Socket::open(libc::NETLINK_NETFILTER, "nftables events")?;
        Monitor::prepare(&socket).map_err(failed_to_open)?;
        Ok(Monitor { socket, table: table.to_owned(), own: Vec::new() })
    }

    fn prepare(socket: &Socket) -> io::Result<()> {
        // A burst of somebody's rules; more than that is `Lost`, which costs a comparison.
        socket.grow_receive_room(1024 * 1024)?;
        socket.join(libc::NFNLGRP_NFTABLES)
    }

    /// Leaves out what is changed through the [`super::Nftables`] of this port, from now on; call it before the
    /// first change. The kernel leaves it out, so that our own bans don't even wake us.
    ///
    /// # Errors
    /// [`NetlinkError::Open`] if the kernel doesn't take the filter.
    pub fn disregard(&mut self, port: u32) -> Result<(), NetlinkError> {
        self.own.push(port);
        self.socket.attach_filter(&filter_of(&self.own)).map_err(failed_to_open)
    }

    /// Waits for an event, at most `limit`; says whether [`Monitor::drain`] has something to read.
    ///
    /// # Errors
    /// If the system can't wait.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        self.socket.wait(limit)
    }

    /// Reads all events that wait, without waiting for more.
    ///
    /// # Errors
    /// If the socket can't be read.
    pub fn drain(&mut self) -> Result<Change, NetlinkError> {
        let mut change = Change::None;
        loop {
            let request = Request::new("read events", "");
            match self.socket.receive().map_err(|source| NetlinkError::Receive { request, source })? {
                Received::Nothing => return Ok(change),
                Received::Overrun => change = Change::Lost,
                Received::Messages(mut messages) => {
                    let is_touch = messages.any(|message| {
                        i32::from(message.kind) >> 8 == libc::NFNL_SUBSYS_NFTABLES
                            && !self.own.contains(&message.port)
                            && is_about(message.body, &self.table)
                    });
                    if is_touch {
                        change = change.max(Change::Touched);
                    }
                }
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an event is about something in the table `inet table`.
pub(super) fn is_about(body: &[u8], table: &str) -> bool {
    body.first() == Some(&FAMILY)
        && Attributes::behind(body, 4).get(TABLE).and_then(message::text) == Some(table)
}

/// Passes datagrams whose first message was not caused by one of `own`. The kernel puts only events of one
/// batch into one datagram (net/netfilter/nf_tables_api.c, nft_commit_notify), so that the first one speaks for all.
fn filter_of(own: &[u32]) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Where `struct nlmsghdr` has the port.
    const PORT: u32 = 12;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![step(LOAD, 0, 0, PORT)];
    for port in own {
        // Loads read network order, the header is in this machine's.
        program.push(step(IF_EQUAL, 0, 1, u32::from_be_bytes(port.to_ne_bytes())));
        program.push(step(RETURN, 0, 0, 0));
    }
    program.push(step(RETURN, 0, 0, u32::MAX));
    program
}

fn failed_to_open(source: io::Error) -> NetlinkError {
    NetlinkError::Open { family: "nftables events", source }
}
