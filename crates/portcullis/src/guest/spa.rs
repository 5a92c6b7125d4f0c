//! A single packet in fwknop's format, made and sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use portcullis_core::door::spa::access::is_private;
use portcullis_core::door::spa::cipher::SALT;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{Keys, seal};
use portcullis_core::door::spa::message::{Guest, Message, Port, Random, Request, VERSION};
use portcullis_core::time::Wall;

use crate::keys::make;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where to.
    pub opens: Vec<Port>,
    /// For whom.
    pub guest: Guest,
    /// For how long; otherwise as the host has it.
    pub seconds: Option<u32>,
    /// Who says he asks.
    pub user: String,
}

/// The packet, another one each time.
///
/// # Errors
/// What cannot be said in this format, in words.
pub fn packet(keys: &Keys, digest: Digest, wish: &Wish, now: Wall) -> Result<String, String> {
    let mut random = [0; 8];
    let mut salt = [0; SALT];
    make::random(&mut random)
        .and_then(|()| make::random(&mut salt))
        .map_err(|error| format!("there are no random numbers: {error}"))?;
    let message = Message {
        random: Random::from_bytes(random),
        user: wish.user.clone(),
        time: now.0.as_secs(),
        version: VERSION.to_owned(),
        guest: wish.guest,
        request: Request::Access(wish.opens.clone()),
        timeout: wish.seconds,
        server_authentication: None,
    };
    seal(&message, digest, keys, salt)
        .map_err(|refusal| format!("such a packet is made for nobody: {}", refusal.words()))
}

/// A socket from which `target` is reached, and the address that it is sent from.
///
/// # Errors
/// There is no way to it.
pub fn reach(target: SocketAddr) -> std::io::Result<(UdpSocket, IpAddr)> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    let own = socket.local_addr()?.ip();
    Ok((socket, own))
}

/// For whom is asked where nobody says: for the address that we send from, if it is likely to arrive as that; otherwise a
/// NAT will change it, and only the packet's source can be meant.
#[must_use]
pub fn own_guest(own: IpAddr, target: IpAddr) -> Guest {
    let is_changed = own.is_ipv4() && is_private(own) && !is_private(target);
    if is_changed || own == IpAddr::V4(Ipv4Addr::UNSPECIFIED) { Guest::Source } else { Guest::Address(own) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_nat_the_source_is_meant() {
        for (own, target, expected) in [
            ("10.0.0.5", "192.0.2.1", Guest::Source),
            ("10.0.0.5", "10.0.0.1", Guest::Address("10.0.0.5".parse().unwrap())),
            ("198.51.100.7", "192.0.2.1", Guest::Address("198.51.100.7".parse().unwrap())),
            ("fd00::5", "2001:db8::1", Guest::Address("fd00::5".parse().unwrap())),
            ("127.0.0.1", "127.0.0.1", Guest::Address("127.0.0.1".parse().unwrap())),
        ] {
            assert_eq!(own_guest(own.parse().unwrap(), target.parse().unwrap()), expected, "{own} {target}");
        }
    }
}
