//! `spa`: opens a door by one encrypted packet, ours or fwknopd's.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::message::{Guest, Port, ports_from_text};
use portcullis_core::door::spa::{PORT, message};
use portcullis_core::net::Protocol;

use super::output::print;
use crate::config::Span;
use crate::config::fwknop::AllowedAddress;
use crate::control::client::Failure;
use crate::exit::Exit;
use crate::guest::address::{Family, resolve};
use crate::guest::opened;
use crate::guest::spa::{Wish, own_guest, packet, reach};
use crate::keys::memory::keep_out_of_dumps;
use crate::keys::{Place, client};

/// Arguments of `spa`.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub struct SpaArguments {
    /// Name or address
    host: String,
    /// The guest's key file, from `portcullis key spa --client`, or a .fwknoprc
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// Which section of it [default: the only one]
    #[arg(short = 'n', long, value_name = "NAME")]
    name: Option<String>,
    /// What to open, as tcp/22,udp/53 [default: ACCESS of the key file]
    #[arg(long, value_name = "PORTS", value_parser = read_ports)]
    opens: Option<Ports>,
    /// For how long; the host may allow less [default: as the host has it]
    #[arg(long = "for", value_name = "TIME")]
    term: Option<Span>,
    /// Open for this address [default: our own; behind a NAT, the packet's source]
    #[arg(short = 'a', long, value_name = "IP", conflicts_with = "source")]
    address: Option<IpAddr>,
    /// Open for whoever the packet comes from, which anybody on the way can make himself
    #[arg(short, long)]
    source: bool,
    /// Send without an HMAC, if the key file has no key for one; the packet can be guessed at then
    #[arg(long)]
    no_hmac: bool,
    /// The UDP port to send to [default: 62201]
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Use IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Then wait until this TCP port opens, and say whether it did
    #[arg(long, value_name = "PORT")]
    until_open: Option<String>,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "until_open")]
    patience: Span,
}

/// Ports as the packet names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<Port>);

/// Reads ports for an argument.
pub fn read_ports(text: &str) -> Result<Ports, String> {
    ports_from_text(text).map(Ports).ok_or_else(|| "write tcp/22, or tcp/22,udp/53".to_owned())
}

/// Makes the packet and sends it.
pub fn spa(arguments: &SpaArguments) -> Result<Exit, Failure> {
    let failed = |message: String| Failure { exit: Exit::Failed, message };
    let usage = |message: &str| Failure { exit: Exit::Usage, message: message.to_owned() };
    keep_out_of_dumps().map_err(|error| {
        failed(format!("this process can't be kept out of core dumps, so no key is read: {error}"))
    })?;
    let key = client::read(&Place::closed(&arguments.key), arguments.name.as_deref())
        .map_err(|fault| failed(fault.to_string()))?;
    key.remarks.iter().for_each(|remark| eprintln!("portcullis: {remark}"));
    if key.keys.hmac().is_none() && !arguments.no_hmac {
        let message = format!(
            "{}: there is no HMAC key\n  write HMAC_KEY_BASE64 as the host has it; if it has none, add --no-hmac",
            arguments.key.display()
        );
        return Err(failed(message));
    }
    let section = key.section;
    let opens =
        arguments.opens.as_ref().map(|ports| ports.0.clone()).or(section.access).ok_or_else(|| {
            usage("neither the command line nor the key file says what to open\n  add --opens tcp/22")
        })?;
    let seconds = match arguments.term {
        None => section.timeout,
        Some(Span(term)) if term.subsec_nanos() != 0 || term.as_secs() > message::TIMEOUT_MAXIMUM.into() => {
            return Err(usage("the packet says times in whole seconds, up to 65536\n  write --for 30s"));
        }
        Some(Span(term)) => Some(term.as_secs() as u32),
    };
    let family = match (arguments.ipv4, arguments.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Any,
    };
    let port = arguments.port.or(section.port).unwrap_or(PORT).to_string();
    let target =
        resolve(&arguments.host, &port, Protocol::Udp, family).map_err(|error| failed(error.to_string()))?;
    let (socket, own) =
        reach(target).map_err(|error| failed(format!("{target} cannot be reached: {error}")))?;
    let said = match (arguments.address, arguments.source) {
        (Some(address), _) => Some(Guest::Address(address.to_canonical())),
        (None, true) => Some(Guest::Source),
        (None, false) => match section.allow {
            Some(AllowedAddress::Address(address)) => Some(Guest::Address(address)),
            Some(AllowedAddress::Source) => Some(Guest::Source),
            // No web service is asked: the address that we send from is known.
            Some(AllowedAddress::Resolve) | None => None,
        },
    };
    let guest = said.unwrap_or_else(|| own_guest(own, target.ip()));
    if said.is_none() && guest == Guest::Source {
        eprintln!(
            "portcullis: {own} is a private address, so it is opened for whoever the packet comes from; hosts that \
             want the address inside need -a with the one that they see"
        );
    }
    let user = section.user.or_else(own_name).unwrap_or_else(|| "portcullis".to_owned());
    let wish = Wish { opens, guest, seconds, user };
    let packet =
        packet(&key.keys, section.digest.unwrap_or(Digest::Sha256), &wish, portcullis_sys::clock::now().wall)
            .map_err(failed)?;
    socket.send(packet.as_bytes()).map_err(|error| failed(format!("{target} cannot be reached: {error}")))?;
    let Some(port) = &arguments.until_open else { return Ok(Exit::Done) };
    let door =
        resolve(&arguments.host, port, Protocol::Tcp, family).map_err(|error| failed(error.to_string()))?;
    print(&opened::tell(door, arguments.patience.0).map_err(failed)?)
}

/// The name of the person at the keyboard, as fwknop's client takes it, if the format can carry it.
fn own_name() -> Option<String> {
    let name = ["LOGNAME", "USER"].iter().find_map(|variable| std::env::var(variable).ok())?;
    crate::keys::rotating::check_user(&name).is_ok().then_some(name)
}
