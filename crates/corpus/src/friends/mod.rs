//! Friends: what honest people, their programs and the network itself send, also where it looks like probing.

pub(crate) mod background;
mod calls;
mod near;
mod offices;
mod peers;
mod questions;
mod routes;
mod sessions;
mod stale;
mod transports;

use crate::{Class, Family, stage::Stage, view::Seen};

/// A kind of friend, and what it is called if it is seen one way only, or from the middle on.
struct Friend {
    name: &'static str,
    play: fn(&mut Stage),
    /// Only what arrives; only what leaves; from the middle on.
    odd: [Option<&'static str>; 3],
}

const fn whole(name: &'static str, play: fn(&mut Stage)) -> Friend {
    Friend { name, play, odd: [None; 3] }
}

const FRIENDS: [Friend; 57] = [
    Friend {
        odd: [Some("web, inbound only"), Some("web, outbound only"), Some("web, from the middle on")],
        ..whole("web", sessions::web)
    },
    Friend {
        odd: [Some("mail, inbound only"), None, Some("mail, from the middle on")],
        ..whole("mail", sessions::mail)
    },
    Friend {
        odd: [Some("ssh, inbound only"), Some("ssh, outbound only"), Some("ssh, from the middle on")],
        ..whole("ssh", sessions::ssh)
    },
    Friend {
        odd: [
            Some("our browsing, inbound only"),
            Some("our browsing, outbound only"),
            Some("our browsing, from the middle on"),
        ],
        ..whole("our browsing", sessions::browsing)
    },
    Friend {
        odd: [
            Some("downloads broken off, inbound only"),
            None,
            Some("downloads broken off, from the middle on"),
        ],
        ..whole("downloads broken off", sessions::broken_downloads)
    },
    whole("uploads refused early", sessions::refused_uploads),
    Friend {
        odd: [
            Some("many behind one address, inbound only"),
            None,
            Some("many behind one address, from the middle on"),
        ],
        ..whole("many behind one address", sessions::many_behind_one)
    },
    Friend {
        odd: [Some("load balancer, inbound only"), None, Some("load balancer, from the middle on")],
        ..whole("load balancer", sessions::load_balancer)
    },
    whole("health checks", sessions::health_checks),
    whole("service restarts", sessions::restart),
    whole("IPv6 and IPv4 raced", sessions::happy_eyeballs),
    Friend {
        odd: [
            Some("laptop that changes networks, inbound only"),
            None,
            Some("laptop that changes networks, from the middle on"),
        ],
        ..whole("laptop that changes networks", sessions::roaming)
    },
    Friend {
        odd: [Some("DNS, inbound only"), None, Some("DNS, from the middle on")],
        ..whole("DNS with late answers", questions::dns)
    },
    Friend {
        odd: [Some("DNS server, inbound only"), None, None],
        ..whole("DNS server", questions::dns_server)
    },
    Friend {
        odd: [
            Some("resolver that asks everybody, inbound only"),
            None,
            Some("resolver that asks everybody, from the middle on"),
        ],
        ..whole("resolver that asks everybody", questions::recursive)
    },
    Friend { odd: [Some("NTP, inbound only"), None, None], ..whole("NTP", questions::ntp) },
    whole("SNMP, RADIUS and syslog", questions::management),
    Friend {
        odd: [Some("QUIC, inbound only"), Some("QUIC, outbound only"), Some("QUIC, from the middle on")],
        ..whole("QUIC", questions::quic)
    },
    Friend {
        odd: [Some("QUIC server, inbound only"), None, Some("QUIC server, from the middle on")],
        ..whole("QUIC server", questions::quic_server)
    },
    Friend {
        odd: [Some("broadcasts, inbound only"), None, None],
        ..whole("mDNS, SSDP, LLMNR, NetBIOS", near::chatter)
    },
    whole("SSDP search and answers", near::search),
    Friend {
        odd: [Some("WS-Discovery, inbound only"), None, None],
        ..whole("WS-Discovery", near::ws_discovery)
    },
    whole("DHCP", near::dhcp),
    whole("things of the house", near::things),
    Friend {
        odd: [Some("active FTP, inbound only"), None, Some("active FTP, from the middle on")],
        ..whole("active FTP", calls::active_ftp)
    },
    whole("active FTP, ours", calls::our_active_ftp),
    Friend {
        odd: [Some("passive FTP, inbound only"), None, Some("passive FTP, from the middle on")],
        ..whole("passive FTP", calls::passive_ftp)
    },
    Friend {
        odd: [Some("SIP and RTP, inbound only"), None, Some("SIP and RTP, from the middle on")],
        ..whole("SIP and RTP", calls::sip)
    },
    Friend {
        odd: [Some("NFS and RPC, inbound only"), None, Some("NFS and RPC, from the middle on")],
        ..whole("NFS and RPC", calls::nfs)
    },
    whole("TFTP", calls::tftp),
    whole("monitoring", routes::monitoring),
    whole("traceroute, UDP", routes::traceroute_udp),
    whole("traceroute, TCP", routes::traceroute_tcp),
    whole("traceroute, ICMP", routes::traceroute_icmp),
    whole("our traceroute", routes::our_traceroute),
    whole("path MTU", routes::path_mtu),
    whole("errors about our packets", routes::errors),
    whole("port-forward left over", stale::left_over),
    whole("client of a dead port, for days", stale::for_days),
    whole("stale bookmarks", stale::bookmarks),
    whole("old DNS entry", stale::old_name),
    whole("game of a former tenant", stale::former_tenant),
    whole("backscatter", stale::backscatter),
    whole("mail server that asks ident", stale::ident),
    Friend {
        odd: [Some("directory server, inbound only"), None, Some("directory server, from the middle on")],
        ..whole("directory server", offices::directory)
    },
    whole("looking for a share", offices::share),
    whole("former printer", offices::printer),
    Friend {
        odd: [Some("collectors, inbound only"), None, None],
        ..whole("collectors that never answer", offices::collectors)
    },
    Friend {
        odd: [
            Some("crawler of our addresses, inbound only"),
            None,
            Some("crawler of our addresses, from the middle on"),
        ],
        ..whole("crawler of our addresses", offices::crawler)
    },
    Friend {
        odd: [Some("tunnels and routing, inbound only"), None, None],
        ..whole("tunnels and routing", transports::protocols)
    },
    Friend {
        odd: [Some("SCTP, inbound only"), None, Some("SCTP, from the middle on")],
        ..whole("SCTP", transports::sctp)
    },
    Friend {
        odd: [
            Some("answers in fragments, inbound only"),
            None,
            Some("answers in fragments, from the middle on"),
        ],
        ..whole("answers in fragments", transports::fragments)
    },
    Friend {
        odd: [
            Some("keep-alives, inbound only"),
            Some("keep-alives, outbound only"),
            Some("keep-alives, from the middle on"),
        ],
        ..whole("keep-alives", transports::keep_alives)
    },
    Friend {
        odd: [Some("after our restart, inbound only"), None, None],
        ..whole("after our restart", transports::rebooted)
    },
    whole("office at a mirror port", offices::mirror),
    Friend {
        odd: [
            Some("our mail deliveries, inbound only"),
            Some("our mail deliveries, outbound only"),
            Some("our mail deliveries, from the middle on"),
        ],
        ..whole("our mail deliveries", offices::deliveries)
    },
    whole("our monitoring of others", offices::our_monitoring),
];

/// All families of friends.
pub(crate) fn families() -> Vec<Family> {
    let ways = [Seen::Inbound, Seen::Outbound, Seen::MidStream];
    let mut families: Vec<Family> =
        FRIENDS.iter().map(|friend| Family::new(friend.name, Class::Friend, friend.play)).collect();
    for friend in &FRIENDS {
        for (name, seen) in friend.odd.iter().zip(ways) {
            let family = name.map(|name| Family::new(name, Class::OddFriend, friend.play));
            families.extend(family.map(|family| Family { seen, ..family }));
        }
    }
    let peers = |name, play| Family::new(name, Class::OddFriend, play);
    families.extend([
        peers("BitTorrent", peers::bittorrent),
        peers("BitTorrent, closed a while ago", peers::after_bittorrent),
        Family { seen: Seen::Inbound, ..peers("BitTorrent, inbound only", peers::bittorrent) },
        Family { seen: Seen::MidStream, ..peers("BitTorrent, from the middle on", peers::bittorrent) },
        peers("STUN and calls between browsers", peers::stun),
        peers("overlay network", peers::overlay),
        peers("file sharing of old", peers::gnutella),
        Family { seen: Seen::Inbound, ..peers("file sharing of old, inbound only", peers::gnutella) },
        Family { seen: Seen::Outbound, ..peers("file sharing of old, outbound only", peers::gnutella) },
        peers("cameras", offices::cameras),
        peers("sessions that nobody remembers", transports::forgotten),
    ]);
    families
}
