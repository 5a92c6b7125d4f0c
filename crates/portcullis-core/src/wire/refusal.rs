//! Why a frame gave no packet: a reason to count, never an error.

/// Declares [`Refusal`], its names and its list in one place, so that none of the three can lag behind.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)+) => {
        /// Why a frame gave no packet. Counted by [`Refusals`]; the name stands in the summary's JSON.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Refusal {
            /// Every reason, in the order of declaration.
            pub const ALL: [Refusal; [$(Refusal::$reason),+].len()] = [$(Refusal::$reason),+];

            /// The reason as logs, metrics and JSON name it: lower-case words joined by hyphens.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Refusal::$reason => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// The capture holds fewer bytes than its headers need (snap length too small).
    Truncated = "truncated",
    /// The packet itself ends before its headers do.
    TooShort = "too-short",
    /// ARP, IEEE 802.3 control frames and whatever else is not IP.
    NotIp = "not-ip",
    /// More VLAN tags than [`MAXIMUM_VLAN_TAGS`](super::MAXIMUM_VLAN_TAGS).
    TooManyVlanTags = "too-many-vlan-tags",
    /// The version field is not what the link announced, or neither 4 nor 6.
    BadIpVersion = "bad-ip-version",
    /// An IPv4 header that claims to be shorter than 20 bytes.
    BadIpHeaderLength = "bad-ip-header-length",
    /// The length in the IP header is smaller than that header, or larger than the frame.
    BadIpLength = "bad-ip-length",
    /// The checksum of the IPv4 header is wrong.
    BadIpChecksum = "bad-ip-checksum",
    /// An IPv6 packet with an IPv4-mapped address, which no honest host sends (RFC 4291 §2.5.5.2).
    MappedAddress = "mapped-address",
    /// An IPv6 jumbogram (RFC 2675).
    Jumbogram = "jumbogram",
    /// A hop-by-hop header behind the first place (RFC 8200 §4.1), or a second fragment header.
    BadExtensionHeader = "bad-extension-header",
    /// More extension headers than [`MAXIMUM_EXTENSION_HEADERS`](super::MAXIMUM_EXTENSION_HEADERS).
    TooManyExtensionHeaders = "too-many-extension-headers",
    /// A TCP data offset below 5, or one that points behind the packet (RFC 9293 §3.1).
    BadTcpOffset = "bad-tcp-offset",
    /// The TCP checksum is wrong.
    BadTcpChecksum = "bad-tcp-checksum",
    /// A UDP length below 8, or beyond the packet (RFC 768).
    BadUdpLength = "bad-udp-length",
    /// The UDP checksum is wrong.
    BadUdpChecksum = "bad-udp-checksum",
    /// UDP over IPv6 without a checksum (RFC 8200 §8.1).
    MissingUdpChecksum = "missing-udp-checksum",
    /// The ICMP or ICMPv6 checksum is wrong.
    BadIcmpChecksum = "bad-icmp-checksum",
    /// A fragment that was kept: the transport header is not complete yet.
    FragmentPending = "fragment-pending",
    /// A further fragment of a datagram that was already passed on or refused.
    FragmentRest = "fragment-rest",
    /// A fragment that overlaps others of its datagram, or says other bytes than they did: what came before it is
    /// forgotten (RFC 5722; Linux does so with IPv4 as well).
    FragmentOverlap = "fragment-overlap",
    /// A fragment that is empty, too long, with IPv6 not a multiple of 8 bytes, or at odds with the others about the
    /// end.
    BadFragment = "bad-fragment",
    /// The headers of a fragmented datagram reach beyond the bytes kept of it.
    FragmentHeaderTooLong = "fragment-header-too-long",
    /// More fragments in a second than the limit allows.
    FragmentRate = "fragment-rate",
}

/// How many frames were refused, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; Refusal::ALL.len()],
}

impl Refusals {
    /// How many frames were refused for this reason.
    #[must_use]
    pub fn count(&self, refusal: Refusal) -> u64 {
        self.counts.get(refusal as usize).copied().unwrap_or_default()
    }

    /// Every reason with its count, also those with 0.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.counts.iter().copied())
    }

    /// How many frames were refused in all.
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
