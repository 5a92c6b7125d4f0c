//! Why a packet opened nothing: a reason to count and to show, never an error.

/// Declares the reasons with their names and words in one place, so that none of them can lag behind.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal, $words:literal;)+) => {
        /// Why a packet opened nothing. Counted by [`Refusals`]. Neither name nor words hold anything of a key, and
        /// nothing of the packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Refusal {
            /// Every reason, in the order in which they are found.
            pub const ALL: [Refusal; [$(Refusal::$reason),+].len()] = [$(Refusal::$reason),+];

            /// The reason as metrics and JSON name it: lower-case words joined by hyphens.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Refusal::$reason => $name,)+ }
            }

            /// What is wrong and how to mend it, for the people on both sides of the door.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Refusal::$reason => $words,)+ }
            }
        }
    };
}

reasons! {
    // The text, before any key is used.
    /// Fewer than 140 characters.
    TooShort = "too-short", "too short for a single-packet authorization";
    /// 400 characters or more: for fwknopd that is GPG, whatever it is.
    TooLong = "too-long", "400 characters or more: GnuPG packets are not taken, and with a key of the Rijndael kind \
        there are too many ports or too long a command in it; ask for fewer";
    /// It begins with `U2FsdGVkX1` or `hQ`, which the client always cuts off: a recorded packet made up anew.
    Prefixed = "prefixed", "begins with the letters that a client cuts off: a recorded packet, made to look new";
    /// A `=`: the client never sends one, and with it one packet would have several forms.
    Padded = "padded", "has a = in it, which no client sends: a recorded packet, made to look new";
    /// A character that base64 does not have.
    NotBase64 = "not-base64", "has characters that are not base64";
    /// The first character does not continue `Salted__`.
    NotSalted = "not-salted", "is base64, but not what fwknop's Rijndael mode makes";
    /// No user's cipher and HMAC give this length.
    BadLength = "bad-length", "has a length that no user's kind of HMAC gives: compare HMAC_DIGEST_TYPE on both sides";
    /// No user may send from this address.
    UnknownSender = "unknown-sender", "comes from an address that no user may send from";

    // What the keys say.
    /// The HMAC is that of none of the users.
    BadHmac = "bad-hmac", "the HMAC is that of no user: another HMAC key or digest, or a packet that was changed";
    /// The left-over bits at the end of the base64 are not zero.
    NotCanonical = "not-canonical", "has stray bits at its end: a recorded packet, made to look new";
    /// The padding behind the deciphered text is wrong.
    BadPadding = "bad-padding", "cannot be deciphered: another key or mode. In .fwknoprc a key ends at the first \
        blank, in access.conf it does not";
    /// The deciphered text has other bytes than printable ASCII, or too few.
    NotText = "not-text", "deciphers to something that is no text: another key or mode";
    /// It does not begin with 16 digits.
    BadRandom = "bad-random", "deciphers to something that does not begin with 16 digits: another key or mode";
    /// The digest inside is not that of the message.
    BadDigest = "bad-digest", "the digest inside is not that of the message";

    // The message.
    /// Too few or too many fields for its type.
    BadFields = "bad-fields", "the message has not the number of fields that its type needs";
    /// The user name.
    BadUser = "bad-user", "the user name is empty, too long, or has characters that the format does not allow";
    /// The time is no number of at most 12 digits.
    BadTime = "bad-time", "the time in the message is no number of seconds";
    /// The version of the protocol has not 1 to 8 characters.
    BadVersion = "bad-version", "the version in the message has not 1 to 8 characters";
    /// A type beyond 6.
    BadType = "bad-type", "the message is of a type that is not known";
    /// MSG is no base64, or longer than the 192 bytes that fwknopd takes.
    BadMessage = "bad-message", "the message is longer than 192 characters, or not text in base64";
    /// The address in the message is none: no prefixes, no names, no octets with leading zeros.
    BadAddress = "bad-address", "the address in the message is not a single plain one";
    /// The ports are not `tcp/PORT` or `udp/PORT`, comma between, 1 to 65535.
    BadPorts = "bad-ports", "the ports in the message are not written as tcp/22 or udp/53 with commas between";
    /// The command is empty.
    BadCommand = "bad-command", "the command in the message is empty";
    /// The NAT field is not `HOST,PORT`.
    BadNat = "bad-nat", "the NAT field of the message is not a host, a comma and a port";
    /// The time-out is no number from 0 to 65536.
    BadTimeout = "bad-timeout", "the time-out in the message is no number from 0 to 65536";

    // Time and memory.
    /// Seen before.
    Replayed = "replayed", "was seen before; a packet opens once, sent by whomever";
    /// Older than the window.
    TooOld = "too-old", "is too old: compare the clocks of both sides";
    /// From a time that lies too far ahead.
    TooNew = "too-new", "is from the future: compare the clocks of both sides";
    /// From before the floor: before the last start, or before what has been forgotten.
    BeforeFloor = "before-floor", "was made before the guard last started (or its clock was set back since); \
        send a new one";
    /// More packets of one user than are remembered at a time.
    TooMany = "too-many", "is one too many of this user: 256 are remembered at a time; wait two minutes";

    // The user's rights.
    /// The user's time is over.
    Expired = "expired", "the time for which the user may enter is over";
    /// Another name than the configuration asks for.
    WrongName = "wrong-name", "the user name inside is not the one that goes with this key";
    /// A command, which nobody asked to be allowed.
    Command = "command", "asks for a command to be run; such messages are not allowed here";
    /// `0.0.0.0`, where the address must stand inside.
    SourceRequired = "source-required", "leaves its address open (-s), but it must be named here (-a ADDRESS, or -R)";
    /// Multicast, broadcast, `0.x`, or reserved.
    NotAHost = "not-a-host", "asks for an address that no host can have";
    /// A private address that is not the packet's source.
    PrivateAddress = "private-address", "asks for a private address, but comes from another one: between the two is a \
        NAT. Ask for the address seen from outside (-R), or for the packet's own (-s)";
    /// An address from which the user may not send.
    AddressNotAllowed = "address-not-allowed", "asks for an address that the user may not enter from";
    /// NAT to another host.
    Forwarding = "forwarding", "asks for a forwarding to another host; none is made here. Ask for the port itself, \
        without -N";
    /// NAT from one local port to another.
    Redirection = "redirection", "asks for another port to lead to a local one; none is made here. Ask for the port \
        itself, without --nat-local";
    /// At least one of the ports is not the user's.
    PortNotAllowed = "port-not-allowed", "asks for a port that the user may not open; all of them are refused then";
}

/// How many packets were refused, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; Refusal::ALL.len()],
}

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals { counts: [0; Refusal::ALL.len()] }
    }
}

impl Refusals {
    /// How many packets were refused for this reason.
    #[must_use]
    pub fn count(&self, refusal: Refusal) -> u64 {
        self.counts.get(refusal as usize).copied().unwrap_or_default()
    }

    /// Every reason with its count, also those with 0.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.counts.iter().copied())
    }

    /// How many packets were refused in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, refusal: Refusal) {
        if let Some(count) = self.counts.get_mut(refusal as usize) {
            *count = count.saturating_add(1);
        }
    }
}
