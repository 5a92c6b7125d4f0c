//! Names of hosts and services to addresses, by the system's resolver.

use std::fmt;
use std::net::SocketAddr;

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};
use portcullis_core::net::Protocol;

/// Which addresses of a host are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Whatever the resolver names first.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// A name that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
    host: String,
    service: String,
    why: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, service) = (self.host.escape_debug(), self.service.escape_debug());
        write!(f, "{host} port {service} leads nowhere: {}", self.why)
    }
}

impl std::error::Error for Unresolved {}

/// The first address of `host` at `service`, a number from 1 to 65535 or a name of services(5).
///
/// # Errors
/// There is none of that family, or no such service.
pub fn resolve(
    host: &str,
    service: &str,
    protocol: Protocol,
    family: Family,
) -> Result<SocketAddr, Unresolved> {
    let unresolved =
        |why: &str| Unresolved { host: host.to_owned(), service: service.to_owned(), why: why.to_owned() };
    if service.bytes().all(|byte| byte.is_ascii_digit()) && !matches!(service.parse::<u16>(), Ok(1..)) {
        return Err(unresolved("a port is a number from 1 to 65535, or the name of a service"));
    }
    let socket = if protocol == Protocol::Udp { SockType::DGram } else { SockType::Stream };
    let hints = AddrInfoHints { socktype: socket.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), Some(service), Some(hints))
        .map_err(|error| unresolved(&std::io::Error::from(error).to_string()))?;
    let is_wanted = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let mut addresses = found.filter_map(Result::ok).map(|info| info.sockaddr);
    addresses.find(is_wanted).ok_or_else(|| unresolved("it has no address of that family"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_services_are_ports() {
        let at = |host: &str, service: &str| resolve(host, service, Protocol::Tcp, Family::Any);
        assert_eq!(at("192.0.2.1", "7000"), Ok("192.0.2.1:7000".parse().unwrap()));
        assert_eq!(at("2001:db8::1", "65535"), Ok("[2001:db8::1]:65535".parse().unwrap()));
        for service in ["0", "65536", "-1", "", "no such service"] {
            assert!(at("192.0.2.1", service).is_err(), "{service}");
        }
    }

    #[test]
    fn a_family_that_the_host_lacks_is_said() {
        let at = |family| resolve("192.0.2.1", "7000", Protocol::Udp, family);
        assert!(at(Family::V4).is_ok());
        let why = at(Family::V6).unwrap_err().to_string();
        assert_eq!(why, "192.0.2.1 port 7000 leads nowhere: it has no address of that family");
    }
}
