//! Whether the doors spare packets to other hosts.

use std::fs;
use std::path::PathBuf;

use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::route;

/// Where the kernel says for each interface, and in `all` and `default`, whether what comes in there is forwarded
/// (ip-sysctl.rst, `forwarding`). Containers and systemd-networkd set single ones.
const INTERFACES: [&str; 2] = ["/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"];

/// Where br_netfilter says whether frames from one port of a bridge to another pass our chain, as if they were forwarded:
/// for all bridges, and for single ones.
const BRIDGED: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];
const BRIDGES: &str = "/sys/class/net";
const OF_BRIDGE: [&str; 2] = ["bridge/nf_call_iptables", "bridge/nf_call_ip6tables"];

/// Whether they do: where this host forwards, or has frames between the ports of a bridge pass nftables, so that
/// containers and machines behind it reach the doors' ports of others. A host that doesn't needs no such rule, nor the
/// kernel's part for it (`nft_fib_inet`).
///
/// Not where it takes packets to addresses that are not in its table `local` ([`route::takes_in_beyond_its_addresses`]):
/// in the chain of the doors these look like those to other hosts, and a VRF's own port, or a transparent proxy, would
/// stand open. There nobody behind this host reaches the doors' ports anywhere, save as a guest.
///
/// # Errors
/// The kernel did not answer.
pub fn is_spared() -> Result<bool, NetlinkError> {
    Ok((is_forwarding() || is_bridging()?) && !route::takes_in_beyond_its_addresses()?)
}

/// What is not there (no IPv6, an interface that went meanwhile) forwards nothing.
fn is_forwarding() -> bool {
    let interfaces = INTERFACES.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
    interfaces
        .filter_map(|interface| fs::read_to_string(interface.path().join("forwarding")).ok())
        .any(|number| number.trim() != "0")
}

/// Whether a bridge (a bond is taken for one) has ports whose frames pass our chain. Without br_netfilter none do.
fn is_bridging() -> Result<bool, NetlinkError> {
    if !route::snapshot()?.interfaces.iter().any(|interface| interface.is_port) {
        return Ok(false);
    }
    let bridges = fs::read_dir(BRIDGES).into_iter().flatten().flatten();
    let of_bridges = bridges.flat_map(|bridge| OF_BRIDGE.map(|path| bridge.path().join(path)));
    let files = BRIDGED.iter().map(PathBuf::from).chain(of_bridges);
    Ok(files.filter_map(|file| fs::read_to_string(file).ok()).any(|number| number.trim() != "0"))
}
