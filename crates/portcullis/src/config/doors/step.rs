//! The steps of a sequence, and what they ask of a segment's flags: `7000, 8000:udp, 9000:tcp:fin+!ack`.

use std::fmt;
use std::ops::Range;

use super::MOST_STEPS;

/// What is wrong with a text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// The bytes of the text that are wrong.
    pub within: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub mend: String,
}

/// Conditions on the flags of a TCP segment: a bit may have to be set, to be clear, or be free. The bits are those of
/// the header (RFC 9293 §3.1): FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Bits that must be set.
    pub set: u8,
    /// Bits that must be clear; none of them is in `set`.
    pub clear: u8,
}

/// The names of the bits, lowest first.
pub(in crate::config) const NAMES: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

impl Flags {
    /// Any segment will do.
    pub const ANY: Flags = Flags { set: 0, clear: 0 };
    /// The first segment of a connection: SYN without ACK.
    pub const FIRST: Flags = Flags { set: 0b10, clear: 0b1_0000 };

    /// Whether a segment with these flags fulfils the conditions.
    #[must_use]
    pub fn accept(self, flags: u8) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }

    /// Reads names with separators (`,` or `+`) between them, `!` before a bit that must be clear; or `any`.
    ///
    /// # Errors
    /// A name is none, or a bit must be both.
    pub fn read(text: &str, separator: char) -> Result<Flags, Slip> {
        if text.trim().eq_ignore_ascii_case("any") {
            return Ok(Flags::ANY);
        }
        let mut flags = Flags::ANY;
        for (start, item) in pieces(text, separator) {
            let within = start..start + item.len();
            let (is_clear, name) = match item.strip_prefix('!') {
                Some(name) => (true, name.trim()),
                None => (false, item),
            };
            let Some(place) = NAMES.iter().position(|other| other.eq_ignore_ascii_case(name)) else {
                return Err(Slip {
                    within,
                    message: format!("\"{item}\" is no flag of TCP"),
                    mend: "the flags are fin, syn, rst, psh, ack and urg, with ! before one that must be clear; or any"
                        .to_owned(),
                });
            };
            *if is_clear { &mut flags.clear } else { &mut flags.set } |= 1 << place;
            if flags.set & flags.clear != 0 {
                let name = NAMES[place];
                return Err(Slip {
                    within,
                    message: format!("{name} can't be set and clear, so no packet would do"),
                    mend: format!("keep {name} or !{name}"),
                });
            }
        }
        Ok(flags)
    }

    /// As it is read, with this text between the names.
    #[must_use]
    pub fn written(self, separator: &str) -> String {
        let mut names = Vec::new();
        for (place, name) in NAMES.iter().enumerate() {
            if self.set & (1 << place) != 0 {
                names.push((*name).to_owned());
            }
        }
        for (place, name) in NAMES.iter().enumerate() {
            if self.clear & (1 << place) != 0 {
                names.push(format!("!{name}"));
            }
        }
        if names.is_empty() { "any".to_owned() } else { names.join(separator) }
    }
}

/// The protocol of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepProtocol {
    /// A segment with these flags.
    Tcp(Flags),
    /// A datagram.
    Udp,
}

/// One step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The port, 1 to 65535.
    pub port: u16,
    /// The protocol, with what is asked of its flags.
    pub protocol: StepProtocol,
}

/// A step as it is written: its flags may be those of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenStep {
    /// `9000` or `9000:tcp`
    Tcp(u16),
    /// `9000:tcp:fin`
    TcpWith(u16, Flags),
    /// `9000:udp`
    Udp(u16),
}

impl WrittenStep {
    /// The step, where a door asks `flags`.
    #[must_use]
    pub fn with(self, flags: Flags) -> Step {
        match self {
            WrittenStep::Tcp(port) => Step { port, protocol: StepProtocol::Tcp(flags) },
            WrittenStep::TcpWith(port, flags) => Step { port, protocol: StepProtocol::Tcp(flags) },
            WrittenStep::Udp(port) => Step { port, protocol: StepProtocol::Udp },
        }
    }

    /// How `step` is written where a door asks `flags`.
    #[must_use]
    pub fn of(step: Step, flags: Flags) -> WrittenStep {
        match step.protocol {
            StepProtocol::Tcp(own) if own == flags => WrittenStep::Tcp(step.port),
            StepProtocol::Tcp(own) => WrittenStep::TcpWith(step.port, own),
            StepProtocol::Udp => WrittenStep::Udp(step.port),
        }
    }

    /// Reads `7000, 8000:udp, 9000:tcp:fin+!ack`.
    ///
    /// # Errors
    /// The first step that is none, or more than [`MOST_STEPS`].
    pub fn read_all(text: &str) -> Result<Vec<WrittenStep>, Slip> {
        let mut steps = Vec::new();
        if text.trim().is_empty() {
            return Ok(steps);
        }
        for (start, item) in pieces(text, ',') {
            if steps.len() == MOST_STEPS {
                return Err(Slip {
                    within: start..start + item.len(),
                    message: format!("this is step {}", MOST_STEPS + 1),
                    mend: format!("write at most {MOST_STEPS} steps"),
                });
            }
            steps.push(WrittenStep::read(start, item)?);
        }
        Ok(steps)
    }

    fn read(start: usize, item: &str) -> Result<WrittenStep, Slip> {
        let whole = start..start + item.len();
        let mut parts = pieces(item, ':');
        let (at, port) = parts.next().unwrap_or((0, ""));
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
            let message = match item {
                "" => "a step is missing between the commas".to_owned(),
                _ => format!("\"{port}\" is no port"),
            };
            let within = if port.is_empty() { whole } else { start + at..start + at + port.len() };
            return Err(Slip {
                within,
                message,
                mend: "write a port from 1 to 65535, such as 7000, 7000:udp or 7000:tcp:fin".to_owned(),
            });
        };
        let Some((at, protocol)) = parts.next() else { return Ok(WrittenStep::Tcp(port)) };
        let wrong = |at: usize, part: &str, message: String, mend: &str| Slip {
            within: start + at..start + at + part.len().max(1),
            message,
            mend: mend.to_owned(),
        };
        let is_udp = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => false,
            "udp" => true,
            _ => {
                let message = format!("\"{protocol}\" is no protocol of a step");
                return Err(wrong(at, protocol, message, "write tcp or udp behind the port"));
            }
        };
        let flags = parts.next();
        match (is_udp, flags, parts.next()) {
            (true, None, _) => Ok(WrittenStep::Udp(port)),
            (false, None, _) => Ok(WrittenStep::Tcp(port)),
            (true, Some((at, flags)), _) => {
                Err(wrong(at, flags, "datagrams have no flags".to_owned(), "take the flags away"))
            }
            (false, Some((at, flags)), None) => {
                Flags::read(flags, '+').map(|flags| WrittenStep::TcpWith(port, flags)).map_err(|slip| Slip {
                    within: start + at + slip.within.start..start + at + slip.within.end,
                    ..slip
                })
            }
            (false, Some(_), Some((at, more))) => Err(wrong(
                at,
                more,
                "nothing can stand behind the flags".to_owned(),
                "join flags by +, as fin+psh",
            )),
        }
    }
}

impl fmt::Display for WrittenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrittenStep::Tcp(port) => write!(f, "{port}"),
            WrittenStep::TcpWith(port, flags) => write!(f, "{port}:tcp:{}", flags.written("+")),
            WrittenStep::Udp(port) => write!(f, "{port}:udp"),
        }
    }
}

/// The parts of `text` between separators, without blanks around them, each with the byte where it begins.
pub(in crate::config) fn pieces(text: &str, separator: char) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split(separator).map(move |piece| {
        let blanks = piece.len() - piece.trim_start().len();
        let at = start + blanks;
        start += piece.len() + separator.len_utf8();
        (at, piece.trim())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_are_read_as_written() {
        for (text, printed) in [
            ("7000,8000:udp, 9000 : TCP", "7000, 8000:udp, 9000"),
            ("1:tcp:fin", "1:tcp:fin"),
            ("1:tcp:syn+!ack, 65535", "1:tcp:syn+!ack, 65535"),
            ("1:tcp:any", "1:tcp:any"),
            ("", ""),
        ] {
            let steps = WrittenStep::read_all(text).unwrap();
            let words: Vec<String> = steps.iter().map(ToString::to_string).collect();
            assert_eq!(words.join(", "), printed, "{text}");
        }
    }

    #[test]
    fn a_step_that_is_none_is_shown_where_it_stands() {
        for (text, wrong, message) in [
            ("7000, 0", "0", "\"0\" is no port"),
            ("7000, 70000", "70000", "\"70000\" is no port"),
            ("7000, abc:udp", "abc", "\"abc\" is no port"),
            ("7000,-1", "-1", "\"-1\" is no port"),
            ("7000,,1", "", "a step is missing between the commas"),
            ("7000,8000:icmp", "icmp", "\"icmp\" is no protocol of a step"),
            ("7000,8000:udp:syn", "syn", "datagrams have no flags"),
            ("1, 2:tcp:syn+aack", "aack", "\"aack\" is no flag of TCP"),
            ("1, 2:tcp:syn+!syn", "!syn", "syn can't be set and clear, so no packet would do"),
            ("1:tcp:syn:ack", "ack", "nothing can stand behind the flags"),
        ] {
            let slip = WrittenStep::read_all(text).unwrap_err();
            assert_eq!((&text[slip.within], slip.message.as_str()), (wrong, message), "{text}");
        }
        let many = vec!["1"; MOST_STEPS + 1].join(",");
        assert_eq!(WrittenStep::read_all(&many).unwrap_err().message, "this is step 33");
        assert_eq!(WrittenStep::read_all(&many[2..]).unwrap().len(), MOST_STEPS);
    }

    #[test]
    fn flags_ask_for_bits_and_leave_the_others_free() {
        let flags = Flags::read("syn, !ack", ',').unwrap();
        assert_eq!(flags, Flags::FIRST);
        assert!(flags.accept(0b10) && flags.accept(0b1010) && !flags.accept(0b1_0010) && !flags.accept(0));
        assert!(Flags::ANY.accept(0) && Flags::ANY.accept(63));
    }

    proptest! {
        #[test]
        fn every_sequence_prints_as_what_reads_back(ports in prop::collection::vec((1u16.., 0u8..3, 0u8..64, 0u8..64), 0..32)) {
            let steps: Vec<WrittenStep> = ports
                .into_iter()
                .map(|(port, kind, set, clear)| match kind {
                    0 => WrittenStep::Tcp(port),
                    1 => WrittenStep::Udp(port),
                    _ => WrittenStep::TcpWith(port, Flags { set, clear: clear & !set }),
                })
                .collect();
            let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
            prop_assert_eq!(WrittenStep::read_all(&text.join(", ")), Ok(steps));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,20}|[0-9,: a-z+!]{0,30}") {
            if let Err(slip) = WrittenStep::read_all(&text) {
                prop_assert!(slip.within.start <= text.len());
            }
        }
    }
}
