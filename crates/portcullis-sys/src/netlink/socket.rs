//! A netlink socket: sends whole requests, reads whole answers, never waits.
//!
//! The kernel works on a request inside our `sendto`, so when that returns, the answer (or the first part of a
//! dump) lies in the socket already; each read of a dump has the kernel write the next part. That is why every
//! read here is made with `MSG_DONTWAIT`: if there is nothing to read, the answer was lost, and waiting would
//! be for ever.

#![expect(
    unsafe_code,
    reason = "system calls on sockets of a family that the standard library does not know"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

use super::message::{Message, Messages};
use super::{NetlinkError, Request};

/// Enough for the largest datagram that the kernel makes of a dump (32 KiB), with room.
const ANSWER_ROOM: usize = 64 * 1024;

/// An open netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
    answer: Box<[u8]>,
}

/// What a read of the socket brought.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// The messages of one datagram from the kernel.
    Messages(Messages<'a>),
    /// Nothing is waiting.
    Nothing,
    /// The queue had run over: something is missing.
    Overrun,
}

impl Socket {
    /// A socket to `protocol` (`NETLINK_…`); `family` names it in errors.
    pub(crate) fn open(protocol: c_int, family: &'static str) -> Result<Socket, NetlinkError> {
        Socket::try_open(protocol).map_err(|source| NetlinkError::Open { family, source })
    }

    fn try_open(protocol: c_int) -> io::Result<Socket> {
        // SAFETY: socket takes no pointers.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: raw was just returned by socket, is open, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut address = address_of_kernel();
        let mut length = size_of::<libc::sockaddr_nl>() as socklen_t;
        // SAFETY: address is a sockaddr_nl of the length given, alive over the call.
        if unsafe { libc::bind(raw, (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: address and length are valid for writing, and length says how large address is.
        if unsafe { libc::getsockname(raw, (&raw mut address).cast(), &raw mut length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = Socket {
            descriptor,
            port: address.nl_pid,
            sequence: 0,
            answer: vec![0; ANSWER_ROOM].into_boxed_slice(),
        };
        // Errors then quote only the head of the message that failed: a refused batch of megabytes would
        // otherwise come back whole and overrun the queue. Since Linux 4.2.
        socket.set_option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        Ok(socket)
    }

    /// Our port number, by which events tell who caused them.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Reserves `count` sequence numbers and returns the first. 0 is never among them: it belongs to events.
    pub(crate) fn reserve_sequences(&mut self, count: u32) -> u32 {
        let first =
            self.sequence.checked_add(1).filter(|first| first.checked_add(count).is_some()).unwrap_or(1);
        self.sequence = first + count - 1;
        first
    }

    pub(crate) fn set_option(&self, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
        self.set_option_value(level, name, &value)
    }

    fn set_option_value<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        // SAFETY: value points to a T of the size given, alive over the call; the kernel only reads it.
        let result = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast::<c_void>(),
                size_of::<T>() as socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Joins a multicast group of events.
    pub(crate) fn join(&self, group: c_int) -> io::Result<()> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Makes room for `bytes` of one request, as far as the system lets us, and returns how long a request may
    /// be now. Nothing is reserved by this.
    pub(crate) fn grow_send_room(&self, bytes: c_int) -> io::Result<usize> {
        if self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_err() {
            // Without CAP_NET_ADMIN in the first user namespace (before Linux 5.16): up to wmem_max.
            self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)?;
        }
        let mut room: c_int = 0;
        let mut length = size_of::<c_int>() as socklen_t;
        // SAFETY: room and length are valid for writing, and length says how large room is.
        let result = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw mut room).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // netlink_sendmsg refuses what is longer than the buffer less 32 (net/netlink/af_netlink.c).
        Ok(usize::try_from(room).unwrap_or_default().saturating_sub(32))
    }

    /// Lets `bytes` of events or answers wait for us, as far as the system lets us.
    pub(crate) fn grow_receive_room(&self, bytes: c_int) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
            .or_else(|_| self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
    }

    /// Lets the kernel throw away what `program` (classic BPF) does not want us to be woken for.
    pub(crate) fn attach_filter(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
        let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
        // The program behind the pointer outlives the call; the kernel copies and checks it.
        self.set_option_value(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    /// Sends one request (one message, or a whole batch) to the kernel, which has worked on it on return.
    pub(crate) fn send(&self, bytes: &[u8], request: Request) -> Result<(), NetlinkError> {
        let kernel = address_of_kernel();
        // SAFETY: bytes is valid for its length, kernel is a sockaddr_nl of the length given; both are only
        // read, during the call.
        let sent = unsafe {
            libc::sendto(
                self.descriptor.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const kernel).cast(),
                size_of::<libc::sockaddr_nl>() as socklen_t,
            )
        };
        if sent < 0 {
            return Err(NetlinkError::Send { request, source: io::Error::last_os_error() });
        }
        Ok(())
    }

    /// Reads one datagram that the kernel has sent, without waiting. What other processes send us is passed over.
    pub(crate) fn receive(&mut self) -> io::Result<Received<'_>> {
        loop {
            let mut sender = address_of_kernel();
            let mut sender_length = size_of::<libc::sockaddr_nl>() as socklen_t;
            // SAFETY: answer is valid for writing over its length, sender over sender_length, and sender_length
            // itself; all live over the call.
            let received = unsafe {
                libc::recvfrom(
                    self.descriptor.as_raw_fd(),
                    self.answer.as_mut_ptr().cast(),
                    self.answer.len(),
                    libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                    (&raw mut sender).cast(),
                    &raw mut sender_length,
                )
            };
            let Ok(received) = usize::try_from(received) else {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN) => return Ok(Received::Nothing),
                    Some(libc::ENOBUFS) => return Ok(Received::Overrun),
                    _ => return Err(error),
                }
            };
            if sender.nl_pid != 0 {
                continue;
            }
            // MSG_TRUNC gives the true length: what did not fit is missing.
            return Ok(match self.answer.get(..received) {
                Some(bytes) => Received::Messages(Messages::new(bytes)),
                None => Received::Overrun,
            });
        }
    }

    /// Sends a question and shows the one message that answers it to `read`. A refusal is an error; an
    /// acknowledgement without a message gives `None`.
    pub(crate) fn ask<T>(
        &mut self,
        bytes: &[u8],
        sequence: u32,
        request: Request,
        read: impl FnOnce(&Message<'_>) -> T,
    ) -> Result<Option<T>, NetlinkError> {
        self.send(bytes, request)?;
        loop {
            match self.receive().map_err(|source| NetlinkError::Receive { request, source })? {
                Received::Nothing | Received::Overrun => return Err(NetlinkError::AnswerLost { request }),
                Received::Messages(mut messages) => {
                    // Older sequence numbers are the remains of a question whose answer was given up.
                    if let Some(message) = messages.find(|message| message.sequence == sequence) {
                        return match message.error_number() {
                            None => Ok(Some(read(&message))),
                            Some(0) => Ok(None),
                            Some(number) => Err(refused(request, number)),
                        };
                    }
                }
            }
        }
    }

    /// Sends a question that is answered by a list and shows each message of it to `visit`. Says whether the
    /// list is of one moment: if not (something changed meanwhile), ask again.
    pub(crate) fn dump(
        &mut self,
        bytes: &[u8],
        sequence: u32,
        request: Request,
        mut visit: impl FnMut(&Message<'_>),
    ) -> Result<bool, NetlinkError> {
        self.send(bytes, request)?;
        let (mut is_of_one_moment, mut is_whole) = (true, true);
        loop {
            let messages = match self.receive().map_err(|source| NetlinkError::Receive { request, source })? {
                Received::Messages(messages) => messages,
                // Read on: an unfinished dump would block the next one on this socket.
                Received::Overrun => {
                    is_whole = false;
                    continue;
                }
                Received::Nothing => return Err(NetlinkError::AnswerLost { request }),
            };
            for message in messages.filter(|message| message.sequence == sequence) {
                is_of_one_moment &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
                if let Some(number) = message.error_number() {
                    return Err(refused(request, number));
                }
                if i32::from(message.kind) != libc::NLMSG_DONE {
                    visit(&message);
                    continue;
                }
                return match message.leading_number() {
                    Some(number) if number < 0 => Err(refused(request, number.wrapping_neg())),
                    _ if !is_whole => Err(NetlinkError::AnswerLost { request }),
                    _ => Ok(is_of_one_moment),
                };
            }
        }
    }

    /// Waits until something can be read, at most `limit`; says whether it can.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        // Rounded up, so that a wait of less than a millisecond doesn't spin.
        let milliseconds = c_int::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: poll is one pollfd, as the count says, valid for writing over the call.
        match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
            count => Ok(count > 0),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The kernel's refusal of one message.
pub(crate) fn refused(request: Request, number: i32) -> NetlinkError {
    NetlinkError::Refused { request, source: io::Error::from_raw_os_error(number) }
}

fn address_of_kernel() -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is plain numbers, for which all zeroes is a value: no groups, and port 0, the kernel.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}
