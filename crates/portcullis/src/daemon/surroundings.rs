//! What the host looks like: own addresses, networks, friends, and the interfaces worth watching.

use std::fs;

use portcullis_core::net::PortSet;
use portcullis_core::policy::{Connected, EPHEMERAL, Local, Surroundings};
use portcullis_sys::filter::{FilterSpec, InterfaceChoice};
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::route::{self, Interface};

use super::doors::with;
use super::friends;
use super::friends::names::Names;
use super::plan::Plan;
use super::sight;

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
pub fn look(plan: &Plan, names: &Names) -> Result<Look, NetlinkError> {
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
    let surroundings = Surroundings {
        local: Local::Addresses(network.addresses.iter().map(|own| own.address).collect()),
        connected,
        friends: friends::of_host(&config.protect, &network, names),
        trusted,
        ephemeral: ephemeral_ports(),
        protect: config.watch.protect.clone(),
    };
    let (tcp, udp) = plan.on_the_wire();
    // The ancestors knew nothing of the kinds that these are for.
    let is_native = plan.persona.is_none() && plan.knockd.is_none();
    let filter = FilterSpec {
        tcp: with(&tcp, &doors.syns),
        udp: with(&udp, &doors.datagrams),
        interfaces,
        muted_udp: Vec::new(),
        heard_tcp: doors.all_tcp.clone(),
        heard_udp: doors.all_udp.clone(),
        acks: if is_native { sight::acks(&tcp, surroundings.ephemeral) } else { PortSet::default() },
        all_protocols_but: is_native.then(Vec::new),
        pings: is_native && (sight::are_pings_seen(&surroundings.local) || !config.watch.protect.is_empty()),
        networks: config.watch.protect.clone(),
    };
    Ok(Look { surroundings, filter, watched, absent })
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
