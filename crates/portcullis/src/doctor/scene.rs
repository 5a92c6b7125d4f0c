//! One look at the kernel: rules, routes, sockets. Reads only. A look takes milliseconds: for the slow path.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_sys::nftables::ruleset::{Ruleset, ruleset};
use portcullis_sys::route::{self, MarkRule};
use portcullis_sys::sock_diag::{Holder, Sockets};

use super::way::Leg;
use super::way::packet::Device;
use crate::causes;

/// Where the kernel names the tables of old iptables, one a line.
const LEGACY: [(&str, &str); 2] =
    [("/proc/net/ip_tables_names", "iptables-legacy"), ("/proc/net/ip6_tables_names", "ip6tables-legacy")];

/// What was seen.
pub struct Scene {
    /// The rules in force, or why they could not be read.
    pub rules: Result<Ruleset, NoRules>,
    /// Programs of old iptables, with those of their tables that are in force: these rules cannot be read here.
    pub legacy: Vec<(&'static str, Vec<String>)>,
    /// Routing rules that go by marks.
    pub mark_rules: Vec<MarkRule>,
    names: BTreeMap<u32, String>,
    sockets: Option<RefCell<Sockets>>,
    /// What else could not be looked at.
    pub complaints: Vec<String>,
}

/// Why there are no rules to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRules {
    /// The kernel's answer.
    pub why: String,
    /// Whether it wants more rights.
    pub is_permission: bool,
}

impl Scene {
    /// Looks.
    #[must_use]
    pub fn look() -> Scene {
        let mut complaints = Vec::new();
        let mut or_complain = |what: &str, why: String| complaints.push(format!("{what}: {why}"));
        let rules = ruleset()
            .map_err(|error| NoRules { is_permission: error.is_permission(), why: causes::said(&error) });
        let mark_rules = route::mark_rules().unwrap_or_else(|error| {
            or_complain("routing rules could not be read", causes::said(&error));
            Vec::new()
        });
        let names = route::snapshot().map(|network| {
            network.interfaces.into_iter().map(|interface| (interface.index, interface.name)).collect()
        });
        let names = names.unwrap_or_else(|error| {
            or_complain("interfaces could not be read", causes::said(&error));
            BTreeMap::new()
        });
        let sockets = Sockets::open().map(RefCell::new);
        let sockets = sockets.map_err(|error| or_complain("sockets could not be read", causes::said(&error)));
        let legacy = LEGACY.into_iter().filter_map(|(path, program)| {
            let names: Vec<String> =
                fs::read_to_string(path).ok()?.split_whitespace().map(str::to_owned).collect();
            (!names.is_empty()).then_some((program, names))
        });
        let legacy = legacy.collect();
        Scene { rules, legacy, mark_rules, names, sockets: sockets.ok(), complaints }
    }

    /// The way to an address; `None` if there is none, or none can be asked.
    #[must_use]
    pub fn leg(&self, address: IpAddr) -> Option<Leg> {
        let way = route::way_to(address).ok().flatten()?;
        let name = self.names.get(&way.interface).cloned().unwrap_or_default();
        Some(Leg {
            device: Device { index: way.interface, name },
            source: way.source,
            is_local: way.is_local,
        })
    }

    /// Who waits on a port: `None` if that is not known.
    #[must_use]
    pub fn holders(&self, protocol: Protocol, port: u16) -> Option<Vec<Holder>> {
        let mut found = Vec::new();
        let mut sockets = self.sockets.as_ref()?.borrow_mut();
        sockets.holders(protocol, Some(port), |holder| found.push(holder)).ok()?;
        Some(found)
    }

    /// The ports among these where somebody waits, in their order.
    #[must_use]
    pub fn held(&self, protocol: Protocol, ports: &PortSet) -> Vec<u16> {
        let mut found = Vec::new();
        if let Some(sockets) = &self.sockets {
            let visit = |holder: Holder| {
                if ports.contains(holder.port) {
                    found.push(holder.port);
                }
            };
            // A kernel that does not answer is told of where a single port is asked for.
            drop(sockets.borrow_mut().holders(protocol, None, visit));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a packet to `at`, come in by this interface, finds a service; `None` if that is not known.
    #[must_use]
    pub fn has_service(&self, at: Endpoint, interface: u32) -> Option<bool> {
        self.sockets.as_ref()?.borrow_mut().has_service(at, None, interface).ok()
    }

    /// Whether what comes in on this interface is sent on to other hosts (ip-sysctl.rst, `forwarding`).
    #[must_use]
    pub fn forwards(&self, interface: &str, is_ipv6: bool) -> Option<bool> {
        // A name with a slash would lead elsewhere.
        if interface.is_empty() || interface.contains('/') {
            return None;
        }
        let family = if is_ipv6 { "ipv6" } else { "ipv4" };
        let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
        fs::read_to_string(path).ok().map(|number| number.trim() != "0")
    }
}
