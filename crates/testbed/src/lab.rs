//! An attacker and a victim, on one wire or with a router between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::{Namespace, Offloads, wait_until};

/// The kernel marks a new link usable within a second or so; more means that something is broken.
const LINK_UP: Duration = Duration::from_secs(10);

/// An attacker and a victim in namespaces of their own, joined by veth; their interfaces are called `eth0`.
///
/// | | attacker | victim |
/// |---|---|---|
/// | [`Lab::direct`] | 10.77.0.1/24, fd77::1/64 | 10.77.0.2/24, fd77::2/64 |
/// | [`Lab::routed`] | 10.78.0.1/24, fd78::1/64 | the same, default route 10.77.0.254, fd77::fe |
#[derive(Debug)]
pub struct Lab {
    /// Where the scans come from.
    pub attacker: Namespace,
    /// The host that is to be guarded.
    pub victim: Namespace,
    /// Between the two in a routed lab; `victim0` and `attacker0` are its interfaces.
    pub router: Option<Namespace>,
}

impl Lab {
    /// Both on one wire. `None` without rights (see [`crate::rights`]).
    ///
    /// # Panics
    /// If the rights are there and it can't be made all the same.
    #[track_caller]
    pub fn direct() -> Option<Self> {
        Some(Self::direct_of(Namespace::new()?, Namespace::new()?))
    }

    /// A router between them. `None` without rights (see [`crate::rights`]).
    ///
    /// # Panics
    /// As [`Lab::direct`].
    #[track_caller]
    pub fn routed() -> Option<Self> {
        Some(Self::routed_of(Namespace::new()?, Namespace::new()?, Namespace::new()?))
    }

    /// As [`Lab::direct`], of namespaces that are made already, for instance by [`Namespace::with_mounts`].
    ///
    /// # Panics
    /// If one of them has an `eth0` already.
    #[track_caller]
    pub fn direct_of(attacker: Namespace, victim: Namespace) -> Self {
        attacker.join("eth0", &victim, "eth0");
        attacker.ip("addr add 10.77.0.1/24 dev eth0\naddr add fd77::1/64 dev eth0 nodad\n");
        victim.ip("addr add 10.77.0.2/24 dev eth0\naddr add fd77::2/64 dev eth0 nodad\n");
        let lab = Self { attacker, victim, router: None };
        lab.wait_until_usable();
        lab
    }

    /// As [`Lab::routed`], of namespaces that are made already.
    ///
    /// # Panics
    /// If one of them has an interface of these names already.
    #[track_caller]
    pub fn routed_of(attacker: Namespace, router: Namespace, victim: Namespace) -> Self {
        router.sysctl("net.ipv4.ip_forward", "1");
        router.sysctl("net.ipv6.conf.all.forwarding", "1");
        router.join("attacker0", &attacker, "eth0");
        router.join("victim0", &victim, "eth0");
        router.ip("addr add 10.78.0.254/24 dev attacker0\naddr add fd78::fe/64 dev attacker0 nodad\n\
                   addr add 10.77.0.254/24 dev victim0\naddr add fd77::fe/64 dev victim0 nodad\n");
        attacker.ip("addr add 10.78.0.1/24 dev eth0\naddr add fd78::1/64 dev eth0 nodad\n\
                     route add default via 10.78.0.254\nroute add ::/0 via fd78::fe\n");
        victim.ip("addr add 10.77.0.2/24 dev eth0\naddr add fd77::2/64 dev eth0 nodad\n\
                   route add default via 10.77.0.254\nroute add ::/0 via fd77::fe\n");
        let lab = Self { attacker, victim, router: Some(router) };
        lab.wait_until_usable();
        lab
    }

    /// The attacker's address.
    pub fn attacker4(&self) -> Ipv4Addr {
        if self.router.is_some() { Ipv4Addr::new(10, 78, 0, 1) } else { Ipv4Addr::new(10, 77, 0, 1) }
    }

    /// The attacker's address.
    pub fn attacker6(&self) -> Ipv6Addr {
        let network = if self.router.is_some() { 0xfd78 } else { 0xfd77 };
        Ipv6Addr::new(network, 0, 0, 0, 0, 0, 0, 1)
    }

    /// The victim's address.
    pub fn victim4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 2)
    }

    /// The victim's address.
    pub fn victim6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)
    }

    /// Gives the attacker one more address, as `10.77.0.9/24`, to scan from.
    ///
    /// # Panics
    /// If it has it already.
    #[track_caller]
    pub fn add_attacker(&self, address: &str) {
        self.attacker.add_address("eth0", address);
    }

    /// Switches the offloads of every interface in the lab. Needs `ethtool`: ask [`crate::has`] first.
    ///
    /// # Panics
    /// If `ethtool` is missing or fails.
    #[track_caller]
    pub fn switch_offloads(&self, offloads: Offloads) {
        self.attacker.switch_offloads("eth0", offloads);
        self.victim.switch_offloads("eth0", offloads);
        if let Some(router) = &self.router {
            router.switch_offloads("attacker0", offloads);
            router.switch_offloads("victim0", offloads);
        }
    }

    /// A link that has just come up may not carry packets for some ms, and IPv6 waits for it. A datagram that
    /// arrives shows that the way is open in both directions (it needs neighbour discovery both ways).
    #[track_caller]
    fn wait_until_usable(&self) {
        for (from, to) in [
            (IpAddr::from(self.attacker4()), IpAddr::from(self.victim4())),
            (IpAddr::from(self.attacker6()), IpAddr::from(self.victim6())),
        ] {
            wait_until(LINK_UP, &format!("the way from {from} to {to}"), || {
                self.carries(from, to).then_some(())
            });
        }
    }

    fn carries(&self, from: IpAddr, to: IpAddr) -> bool {
        let bind = |address| std::net::UdpSocket::bind((address, 0));
        let Ok(receiver) = self.victim.enter(|| bind(to)) else { return false };
        let Ok(sender) = self.attacker.enter(|| bind(from)) else { return false };
        let Ok(target) = receiver.local_addr() else { return false };
        receiver.set_read_timeout(Some(Duration::from_millis(50))).expect("50 ms is not zero");
        let mut buffer = [0; 1];
        sender.send_to(b"?", target).is_ok() && receiver.recv(&mut buffer).is_ok()
    }
}
