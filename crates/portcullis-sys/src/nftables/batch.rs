//! A batch: messages that take effect together or not at all.

use std::io;

use super::layout::FAMILY;
use super::numbers::kind;
use crate::netlink::message::{Open, Writer};
use crate::netlink::socket::{Received, Socket, refused};
use crate::netlink::{NetlinkError, Request};

/// Sequence numbers set aside for one batch. A batch is sent before it has more messages than this.
const SEQUENCES: u32 = 1 << 14;
/// More messages with elements than this go into several batches. While anybody listens to the events of
/// nftables (we do), the kernel keeps 4 KiB for each element of a batch until its end: with these some 150 MiB at
/// most, with a hundred thousand elements in one batch 400 MiB, or 1.2 GiB where each is replaced.
const MOST_MESSAGES: usize = 48;
/// The verb of the request that can fail for an overlap.
pub(super) const ADD_ELEMENTS: &str = "add elements to set";

/// A batch under construction. Its buffers are kept from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    out: Writer,
    /// What each message between begin and end was for.
    requests: Vec<Request>,
    /// Where the last message began.
    last: usize,
    /// Sequence number of the beginning; those of the messages follow.
    sequence: u32,
}

impl Batch {
    /// Throws away what there was and begins anew.
    pub(super) fn begin(&mut self, socket: &mut Socket) {
        self.out.clear();
        self.requests.clear();
        self.sequence = socket.reserve_sequences(SEQUENCES);
        self.frame(libc::NFNL_MSG_BATCH_BEGIN, self.sequence);
    }

    /// Adds a message; `write` writes its attributes.
    pub(super) fn message(
        &mut self,
        message: i32,
        flags: i32,
        request: Request,
        write: impl FnOnce(&mut Writer),
    ) {
        self.requests.push(request);
        self.last = self.out.len();
        let open = self.open(message, flags);
        self.out.netfilter_head(FAMILY, 0);
        write(&mut self.out);
        self.out.close_message(open);
    }

    fn open(&mut self, message: i32, flags: i32) -> Open {
        self.out.open_message(kind(message), flags, self.sequence.wrapping_add(self.requests.len() as u32))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether a batch that may be `limit` bytes long is long enough to be sent before `bytes` more go in.
    pub(super) fn is_full(&self, bytes: usize, limit: usize) -> bool {
        self.out.len() + bytes > limit || self.requests.len() >= MOST_MESSAGES
    }

    /// Sends the batch and reads every answer. An error means that the kernel has done nothing of it, unless the
    /// error says that the answer is not known.
    pub(super) fn commit(&mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        if self.is_empty() {
            return Ok(());
        }
        // The kernel reports every failure unasked. Success it reports for the last message only, after the
        // commit (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch): one answer, however long the batch is.
        self.out.add_flags(self.last, libc::NLM_F_ACK);
        let last = self.sequence.wrapping_add(self.requests.len() as u32);
        self.frame(libc::NFNL_MSG_BATCH_END, last.wrapping_add(1));
        socket.send(self.out.bytes(), self.request(self.sequence))?;
        self.read_answers(socket, last)
    }

    fn read_answers(&self, socket: &mut Socket, last: u32) -> Result<(), NetlinkError> {
        let mut failure: Option<(Request, i32)> = None;
        let mut is_acknowledged = false;
        while !is_acknowledged {
            let request = self.request(last);
            match socket.receive() {
                Ok(Received::Messages(messages)) => {
                    for message in messages.filter(|message| self.is_ours(message.sequence)) {
                        let Some(number) = message.error_number() else { continue };
                        is_acknowledged |= message.sequence == last;
                        if number != 0 && failure.is_none() {
                            failure = Some((self.request(message.sequence), number));
                        }
                    }
                }
                Ok(Received::Nothing) => break,
                // Only failures can be that many. Those that got through say which one was the first.
                Ok(Received::Overrun) => {}
                Err(source) => return Err(NetlinkError::Receive { request, source }),
            }
        }
        match failure {
            // Without NLM_F_EXCL what is there already is no fault, so that this can only mean an overlap
            // (net/netfilter/nf_tables_api.c, nft_add_set_elem).
            Some((request, libc::EEXIST)) if request.verb == ADD_ELEMENTS => {
                Err(NetlinkError::Overlap { request })
            }
            Some((request, number)) => Err(refused(request, number)),
            None if is_acknowledged => Ok(()),
            None => Err(NetlinkError::AnswerLost { request: self.request(last) }),
        }
    }

    /// Whether this is an answer to this batch; others are the remains of one whose answers were given up.
    fn is_ours(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.sequence) <= self.requests.len() as u32
    }

    fn request(&self, sequence: u32) -> Request {
        let index = sequence.wrapping_sub(self.sequence).wrapping_sub(1) as usize;
        self.requests.get(index).copied().unwrap_or(Request::new("commit the batch", ""))
    }

    fn frame(&mut self, message: i32, sequence: u32) {
        let open = self.out.open_message(message as u16, 0, sequence);
        self.out.netfilter_head(libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16);
        self.out.close_message(open);
    }
}

/// How long a request may be: asks for room for a million elements in one batch, and takes what it gets.
pub(super) fn make_room(socket: &Socket) -> io::Result<usize> {
    // The kernel doubles it.
    const ROOM: libc::c_int = 64 * 1024 * 1024;
    // A refused batch can bring a failure for each of its messages.
    socket.grow_receive_room(1024 * 1024)?;
    socket.grow_send_room(ROOM)
}
