//! What the host looks like: own addresses, networks, gateways, resolvers, and the interfaces worth watching.

use std::fs;
use std::net::IpAddr;

use portcullis_core::policy::{Connected, EPHEMERAL, Local, Surroundings};
use portcullis_sys::filter::{FilterSpec, InterfaceChoice};
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::route::{self, Interface};

use super::doors::with;
use super::plan::Plan;

/// Where resolvers stand. Behind a local stub (`127.0.0.53`) systemd-resolved names the true ones.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// A look at the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// For the engine.
    pub surroundings: Surroundings,
    /// For the filter.
    pub filter: FilterSpec,
    /// Interfaces watched now, by name.
    pub watched: Vec<String>,
    /// Names in the configuration that no interface has now.
    pub absent: Vec<String>,
}

/// Looks at the host.
///
/// # Errors
/// The kernel did not answer.
pub fn look(plan: &Plan) -> Result<Look, NetlinkError> {
    let (config, doors) = (&plan.config, &plan.doors.listened);
    let network = route::snapshot()?;
    let index_of = |names: &[String]| -> Vec<u32> {
        network.interfaces.iter().filter(|own| names.contains(&own.name)).map(|own| own.index).collect()
    };
    let trusted = index_of(&config.protect.interfaces);
    let is_chosen = |interface: &Interface| {
        let is_named = config.watch.interfaces.contains(&interface.name);
        // What a port of a bridge (or bond) receives comes again on its master.
        let is_usual = config.watch.interfaces.is_empty() && !interface.is_loopback && !interface.is_port;
        (is_named || is_usual) && !trusted.contains(&interface.index)
    };
    let (chosen, left): (Vec<&Interface>, Vec<&Interface>) =
        network.interfaces.iter().partition(|interface| is_chosen(interface));
    let indexes = |interfaces: &[&Interface]| interfaces.iter().map(|own| own.index).collect();
    let interfaces = if config.watch.interfaces.is_empty() {
        InterfaceChoice::AllBut(indexes(&left))
    } else {
        InterfaceChoice::Only(indexes(&chosen))
    };
    let absent = config.watch.interfaces.iter().chain(&config.protect.interfaces);
    let absent = absent.filter(|name| !network.interfaces.iter().any(|own| own.name == **name));
    let absent = absent.cloned().collect();
    let watched = chosen.iter().filter(|own| own.is_up).map(|own| own.name.clone()).collect();

    let mut connected: Vec<Connected> = network
        .addresses
        .iter()
        .filter(|own| !own.address.is_loopback())
        .filter(|own| !own.network.is_single())
        .map(|own| Connected { network: own.network, interface: own.interface })
        .collect();
    connected.sort_unstable();
    connected.dedup();
    let mut gateways = if config.protect.gateways { network.gateways.clone() } else { Vec::new() };
    gateways.sort_unstable();
    gateways.dedup();
    let surroundings = Surroundings {
        local: Local::Addresses(network.addresses.iter().map(|own| own.address).collect()),
        connected,
        gateways,
        resolvers: if config.protect.resolvers { resolvers() } else { Vec::new() },
        trusted,
        ephemeral: ephemeral_ports(),
    };
    let (tcp, udp) = plan.on_the_wire();
    let filter = FilterSpec {
        tcp: with(&tcp, &doors.syns),
        udp: with(&udp, &doors.datagrams),
        interfaces,
        muted_udp: Vec::new(),
        heard_tcp: doors.all_tcp.clone(),
        heard_udp: doors.all_udp.clone(),
    };
    Ok(Look { surroundings, filter, watched, absent })
}

/// The resolvers that this host is told to use; a file that is not there names none.
fn resolvers() -> Vec<IpAddr> {
    let mut resolvers: Vec<IpAddr> = RESOLVER_FILES
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .flat_map(|text| nameservers(&String::from_utf8_lossy(&text)))
        .filter(|address| !address.is_loopback())
        .collect();
    resolvers.sort_unstable();
    resolvers.dedup();
    resolvers
}

/// The `nameserver` lines of a resolv.conf(5); a zone behind `%` is left off.
fn nameservers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(|word| word.split('%').next()?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
        .collect()
}

/// The ports that the own stack chooses (ip-sysctl.rst, `ip_local_port_range`).
fn ephemeral_ports() -> (u16, u16) {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = range.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(low), Some(high)) => (low, high),
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_as_the_resolver_does() {
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\n  nameserver\t2001:db8::53%eth0 # x\n\
                    options timeout:1\nnameserver ::ffff:192.0.2.3\nnameserver example\n";
        let expected: Vec<IpAddr> =
            ["192.0.2.1", "2001:db8::53", "192.0.2.3"].map(|a| a.parse().unwrap()).into();
        assert_eq!(nameservers(text), expected);
    }
}
