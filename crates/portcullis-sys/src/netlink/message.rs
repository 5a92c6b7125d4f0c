//! Messages and attributes: written into one growing buffer, read without copying.

use libc::{NLM_F_REQUEST, NLMSG_ERROR};

/// `NLA_F_NESTED`: the attribute holds attributes.
pub(crate) const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that name it (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// Size of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Size of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// Messages under construction, one after another. Its buffer is kept from use to use.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

/// Where an open message or attribute began; closing it writes its length there.
#[derive(Debug)]
#[must_use = "an open message or attribute has no length yet"]
pub(crate) struct Open(usize);

impl Writer {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Begins a message; the kernel fills in our port number itself.
    pub(crate) fn open_message(&mut self, kind: u16, flags: i32, sequence: u32) -> Open {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = u16::try_from(flags | NLM_F_REQUEST).expect("netlink's flags are 16 bits");
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        Open(start)
    }

    pub(crate) fn close_message(&mut self, message: Open) {
        let length = u32::try_from(self.bytes.len() - message.0).expect("a message is below 4 GiB");
        self.bytes[message.0..message.0 + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds flags to the message that began at `start`.
    pub(crate) fn add_flags(&mut self, start: usize, flags: i32) {
        for (byte, more) in self.bytes[start + 6..start + 8].iter_mut().zip((flags as u16).to_ne_bytes()) {
            *byte |= more;
        }
    }

    /// `struct nfgenmsg`, the head of every netfilter message.
    pub(crate) fn netfilter_head(&mut self, family: u8, resource: u16) {
        let [high, low] = resource.to_be_bytes();
        self.bytes.extend_from_slice(&[family, 0, high, low]);
    }

    /// Bytes as they are: the fixed head of a message.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("single attributes are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn u32_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn u64_be(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A text with the NUL that the kernel wants behind it.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len() + 1).expect("names are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    pub(crate) fn open(&mut self, kind: u16) -> Open {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        Open(start)
    }

    /// The caller keeps what is inside below 64 KiB.
    pub(crate) fn close(&mut self, nest: Open) {
        let length = u16::try_from(self.bytes.len() - nest.0).expect("callers split lists below 64 KiB");
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// One message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Port number of whoever caused it; 0 is the kernel itself.
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

impl Message<'_> {
    /// What an NLMSG_ERROR message says: 0 is an acknowledgement. `None` for any other message.
    pub(crate) fn error_number(&self) -> Option<i32> {
        if i32::from(self.kind) != NLMSG_ERROR {
            return None;
        }
        // Too short to hold a number: the kernel never sends that; take it for a refusal, never for a yes.
        Some(self.leading_number().map_or(libc::EBADMSG, i32::wrapping_neg))
    }

    /// The number at the head of the body, as NLMSG_ERROR and NLMSG_DONE carry it.
    pub(crate) fn leading_number(&self) -> Option<i32> {
        Some(i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?))
    }
}

/// The messages of one datagram. Ends at the first one that is cut or whose length is impossible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Messages<'a> {
        Messages { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head: &[u8; HEADER] = self.rest.first_chunk()?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = self.rest.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            sequence: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            port: u32::from_ne_bytes([head[12], head[13], head[14], head[15]]),
            body,
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes of a message or of a nest. Ends at the first one that is cut or whose length is impossible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'a> {
    /// Its name, without the flags.
    pub(crate) kind: u16,
    /// Whether the sender marked it as holding attributes; not every part of the kernel does.
    pub(crate) is_nested: bool,
    pub(crate) value: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: bytes }
    }

    /// The attributes behind a message's fixed head of `head` bytes.
    pub(crate) fn behind(body: &'a [u8], head: usize) -> Attributes<'a> {
        Attributes { rest: body.get(head..).unwrap_or_default() }
    }

    /// The value of the first attribute of this kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The attributes inside the first attribute of this kind; none if it is absent.
    pub(crate) fn inside(self, kind: u16) -> Attributes<'a> {
        Attributes { rest: self.get(kind).unwrap_or_default() }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let head: &[u8; ATTRIBUTE_HEADER] = self.rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = self.rest.get(ATTRIBUTE_HEADER..length)?;
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & TYPE_MASK, is_nested: kind & NESTED != 0, value })
    }
}

/// A number in network order, if the value has its width.
pub(crate) fn u32_be(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A number in network order, if the value has its width.
pub(crate) fn u64_be(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// A port in network order, if the value has its width.
pub(crate) fn u16_be(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// A number in this machine's order, if the value has its width.
pub(crate) fn u32_ne(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// An address, if the value is as wide as one.
pub(crate) fn address(value: &[u8]) -> Option<std::net::IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(Into::into),
        16 => <[u8; 16]>::try_from(value).ok().map(Into::into),
        _ => None,
    }
}

/// A text up to its NUL; nothing if it is no UTF-8.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.split(|&byte| byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Writer::default();
        let message = out.open_message(7, 0, 42);
        out.text(1, "banned4");
        let nest = out.open(2);
        out.u32_be(1, 0x0102_0304);
        out.close(nest);
        out.close_message(message);
        let read: Vec<Message> = Messages::new(out.bytes()).collect();
        assert_eq!((read.len(), read[0].kind, read[0].sequence), (1, 7, 42));
        let attributes = Attributes::new(read[0].body);
        assert_eq!(attributes.get(1).and_then(text), Some("banned4"));
        assert_eq!(attributes.inside(2).get(1).and_then(u32_be), Some(0x0102_0304));
        assert_eq!(attributes.get(3), None);
    }

    #[test]
    fn impossible_lengths_end_the_reading() {
        assert_eq!(Messages::new(&[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(Messages::new(&[17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(Attributes::new(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes::new(&[4, 0, 1, 0, 5, 0, 1, 0]).count(), 1);
    }

    #[test]
    fn an_error_without_its_number_is_no_yes() {
        let cut = Message { kind: NLMSG_ERROR as u16, flags: 0, sequence: 0, port: 0, body: &[0, 0] };
        assert_eq!(cut.error_number(), Some(libc::EBADMSG));
    }
}
