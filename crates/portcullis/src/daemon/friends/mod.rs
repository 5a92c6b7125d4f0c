//! Whom the host needs, and who is at home on it: they are never blocked, whoever forges their addresses.
//!
//! Called by `surroundings`, each time that it looks at the host. Everything is read from files and from the kernel;
//! names are looked up beside ([`names`]). What can't be read protects nobody, and takes nothing else away.

pub mod names;
mod sessions;
mod time_servers;
mod watch;

use std::fs;
use std::net::IpAddr;

use portcullis_core::event::Protection;
use portcullis_core::net::Prefix;
use portcullis_core::policy::Friend;
use portcullis_sys::route::{Interface, Network};

use self::names::Names;
pub use self::watch::Watch;
use crate::config::Protect;

/// Where resolvers stand. Behind a local stub (`127.0.0.53`) systemd-resolved names the true ones.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// No more of one kind than this are kept: whoever can log in a thousand times must not slow down every ban.
const MOST: usize = 256;

/// All of them, sorted, each once with its first reason.
#[must_use]
pub fn of_host(protect: &Protect, network: &Network, names: &Names) -> Vec<Friend> {
    let mut friends = Vec::new();
    let mut add = |why, is_wanted: bool, find: &dyn Fn() -> Vec<Prefix>| {
        if is_wanted {
            friends.extend(find().into_iter().take(MOST).map(|prefix| Friend { prefix, why }));
        }
    };
    let gateways = || singles(network.gateways.iter().copied());
    add(Protection::Gateway, protect.gateways, &gateways);
    add(Protection::Resolver, protect.resolvers, &|| singles(resolvers()));
    add(Protection::TimeServer, protect.time_servers, &|| singles(time_servers::in_use(names)));
    add(Protection::LoggedIn, protect.logged_in, &|| singles(sessions::remote_ends()));
    add(Protection::OwnNetwork, protect.containers, &|| own_networks(network));
    add(Protection::AllowedName, true, &|| singles(names.addresses(&protect.names)));
    friends.sort_unstable();
    friends.dedup_by_key(|friend| friend.prefix);
    friends
}

/// The names that are to be looked up.
#[must_use]
pub fn wanted(protect: &Protect) -> Vec<String> {
    let mut wanted = protect.names.clone();
    if protect.time_servers {
        wanted.extend(time_servers::named());
    }
    wanted
}

/// Addresses that somebody else can have.
fn singles(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Prefix> {
    let others = addresses.into_iter().map(|address| address.to_canonical());
    others.filter(|address| !address.is_loopback() && !address.is_unspecified()).map(Prefix::single).collect()
}

/// The resolvers that this host is told to use; a file that is not there names none.
fn resolvers() -> Vec<IpAddr> {
    let texts = RESOLVER_FILES.iter().filter_map(|path| fs::read(path).ok());
    texts.flat_map(|text| nameservers(&String::from_utf8_lossy(&text))).collect()
}

/// The `nameserver` lines of a resolv.conf(5); a zone behind `%` is left off.
fn nameservers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(|word| word.split('%').next()?.parse().ok())
        .collect()
}

/// The networks of bridges that lead to containers and virtual machines of this host and to nothing else: each port is
/// one end of a pair of virtual cards, or belongs to a program. A bridge over a real card, or one that leads to other
/// hosts (a VLAN, a VXLAN), is as open as the network behind it, and protects nobody.
fn own_networks(network: &Network) -> Vec<Prefix> {
    let is_inside = |port: &Interface| matches!(port.kind.as_deref(), Some("veth" | "tun" | "dummy"));
    let is_own = |index: u32| {
        network.interfaces.iter().any(|own| own.index == index && own.kind.as_deref() == Some("bridge"))
            && network.interfaces.iter().filter(|own| own.master == Some(index)).all(is_inside)
    };
    let networks = network.addresses.iter().filter(|own| is_own(own.interface)).map(|own| own.network);
    networks.filter(|network| !network.is_single() && network.length() > 0).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_sys::route::Address;

    use super::*;

    #[test]
    fn nameservers_are_read_as_the_resolver_does() {
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\n  nameserver\t2001:db8::53%eth0 # x\n\
                    options timeout:1\nnameserver ::ffff:192.0.2.3\nnameserver 127.0.0.53\nnameserver example\n";
        let expected: Vec<Prefix> =
            ["192.0.2.1", "2001:db8::53", "192.0.2.3"].map(|a| a.parse().unwrap()).into();
        assert_eq!(singles(nameservers(text)), expected);
    }

    #[test]
    fn bridges_of_containers_are_own_networks_and_bridges_over_cards_are_not() {
        let interface = |index, kind: Option<&str>, master| Interface {
            index,
            name: format!("i{index}"),
            is_up: true,
            is_loopback: false,
            master,
            is_port: master.is_some(),
            kind: kind.map(str::to_owned),
        };
        let address = |interface, network: &str| {
            let network: Prefix = network.parse().unwrap();
            Address { interface, address: network.address(), prefix_length: network.length(), network }
        };
        let network = Network {
            interfaces: vec![
                interface(1, Some("bridge"), None),
                interface(2, Some("veth"), Some(1)),
                interface(3, Some("tun"), Some(1)),
                interface(4, Some("bridge"), None),
                interface(5, None, Some(4)),
                interface(6, Some("veth"), Some(4)),
                interface(7, Some("bridge"), None),
                interface(8, Some("vxlan"), Some(7)),
                interface(9, None, None),
                interface(10, Some("bridge"), None),
            ],
            addresses: vec![
                address(1, "172.17.0.0/16"),
                address(4, "192.0.2.0/24"),
                address(7, "10.0.0.0/24"),
                address(9, "198.51.100.0/24"),
                address(10, "192.168.122.0/24"),
            ],
            gateways: Vec::new(),
        };
        let expected: Vec<Prefix> = ["172.17.0.0/16", "192.168.122.0/24"].map(|p| p.parse().unwrap()).into();
        assert_eq!(own_networks(&network), expected, "a bridge without ports has no strangers either");
    }
}
