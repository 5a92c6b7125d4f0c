//! What a persona of PortSentry does about a source: which steps, in which order, with which texts. Pure.

use std::net::IpAddr;

use portcullis_core::net::Protocol;

use super::command::{Subject, expand};
use super::effects::Effects;
use super::{hosts_deny, undo};
use crate::config::portsentry::{BlockMode, KillRouteBy, PortsentryConfig};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Append this line to `hosts.deny`.
    HostsDeny(String),
    /// Shut the source out by this command.
    Route(String),
    /// Shut the source out by our own set in the kernel.
    Set,
    /// Tell somebody by this command.
    Run(String),
}

impl Response {
    /// Whether `effects` say that it has been done; the kernel alone knows what is in the set.
    #[must_use]
    pub fn is_done(&self, effects: &Effects, boot: &str) -> bool {
        match self {
            Response::HostsDeny(_) => effects.hosts_deny.is_some(),
            Response::Route(_) => effects.route.is_some() && effects.boot == boot,
            Response::Set => false,
            Response::Run(_) => effects.has_run,
        }
    }

    /// Whether it keeps anybody out, rather than telling of him.
    #[must_use]
    pub fn is_block(&self) -> bool {
        !matches!(self, Response::Run(_))
    }
}

/// The responses of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Responses {
    block_tcp: BlockMode,
    block_udp: BlockMode,
    hosts_deny: Option<String>,
    /// `None` is our own set.
    route: Option<String>,
    run: Option<String>,
    is_run_first: bool,
    mode_tcp: &'static str,
    mode_udp: &'static str,
}

/// The macro without which a response hits nobody.
const TARGET: &str = "$TARGET$";

impl Responses {
    /// What `config` asks for; `$MODE$` becomes `mode_tcp` or `mode_udp`. Texts that name no `$TARGET$` are left out
    /// ([`Responses::without_target`] tells them).
    #[must_use]
    pub fn of(config: &PortsentryConfig, mode_tcp: &'static str, mode_udp: &'static str) -> Responses {
        let with_target = |text: &Option<String>| text.clone().filter(|text| text.contains(TARGET));
        let is_ours = |route: &String| {
            config.kill_route_by == KillRouteBy::Nftables && undo::is_well_known_block(route)
        };
        Responses {
            block_tcp: config.block_tcp,
            block_udp: config.block_udp,
            hosts_deny: with_target(&config.kill_hosts_deny),
            route: with_target(&config.kill_route).filter(|route| !is_ours(route)),
            run: config.kill_run_cmd.clone(),
            is_run_first: config.kill_run_cmd_first,
            mode_tcp,
            mode_udp,
        }
    }

    /// The keys of `config` that are left out, since their text names nobody.
    #[must_use]
    pub fn without_target(config: &PortsentryConfig) -> Vec<&'static str> {
        let keys = [("KILL_ROUTE", &config.kill_route), ("KILL_HOSTS_DENY", &config.kill_hosts_deny)];
        let is_faulty = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.contains(TARGET));
        keys.into_iter().filter(|(_, text)| is_faulty(text)).map(|(key, _)| key).collect()
    }

    /// Everything to do about `address`, in the measured order: `hosts.deny`, route, command; or the command first
    /// (PortSentry 1.2 and 2.0.7, measured).
    #[must_use]
    pub fn about(&self, protocol: Protocol, address: IpAddr, port: u16) -> Vec<Response> {
        let mode = self.mode(protocol);
        let subject = Subject { address, port, mode };
        let run = self.run.as_ref().map(|run| Response::Run(expand(run, &subject)));
        let mut responses = Vec::new();
        match self.block(protocol) {
            BlockMode::LogOnly => return responses,
            BlockMode::CommandOnly => {}
            BlockMode::Respond => {
                let line = self.hosts_deny.as_ref().map(|line| hosts_deny::expand(line, &subject));
                responses.extend(line.map(Response::HostsDeny));
                responses.push(match &self.route {
                    Some(route) if !self.uses_set(protocol, address) => {
                        Response::Route(expand(route, &subject))
                    }
                    _ => Response::Set,
                });
            }
        }
        let place = if self.is_run_first { 0 } else { responses.len() };
        responses.splice(place..place, run);
        responses
    }

    /// Whether `address` is shut out by our own set: where no command is configured, or one that knows IPv4 only
    /// cannot.
    #[must_use]
    pub fn uses_set(&self, protocol: Protocol, address: IpAddr) -> bool {
        let is_beyond = |route: &String| address.is_ipv6() && undo::is_ipv4_only(route);
        self.block(protocol) == BlockMode::Respond && self.route.as_ref().is_none_or(is_beyond)
    }

    /// Whether our own set is ever used.
    #[must_use]
    pub fn may_use_set(&self) -> bool {
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .any(|protocol| self.uses_set(protocol, IpAddr::from([0; 16])))
    }

    /// Whether nothing comes to a socket any more from whoever is blocked.
    #[must_use]
    pub fn drops_incoming(&self) -> bool {
        let shuts_out = [self.block_tcp, self.block_udp].contains(&BlockMode::Respond);
        shuts_out && self.route.as_ref().is_none_or(|route| undo::drops_incoming(route))
    }

    /// Whether events of this transport lead to responses.
    #[must_use]
    pub fn blocks(&self, protocol: Protocol) -> bool {
        self.block(protocol) != BlockMode::LogOnly
    }

    /// What `$MODE$` becomes.
    #[must_use]
    pub fn mode(&self, protocol: Protocol) -> &'static str {
        if protocol == Protocol::Udp { self.mode_udp } else { self.mode_tcp }
    }

    fn block(&self, protocol: Protocol) -> BlockMode {
        if protocol == Protocol::Udp { self.block_udp } else { self.block_tcp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::portsentry::Dialect;

    fn config() -> PortsentryConfig {
        PortsentryConfig {
            block_tcp: BlockMode::Respond,
            block_udp: BlockMode::CommandOnly,
            kill_hosts_deny: Some("ALL: $TARGET$ : DENY".into()),
            kill_route: Some("/sbin/iptables -I INPUT -s $TARGET$ -j DROP".into()),
            kill_run_cmd: Some("/bin/echo $TARGET$ $PORT$ $MODE$".into()),
            ..PortsentryConfig::empty(Dialect::One)
        }
    }

    fn about(config: &PortsentryConfig, protocol: Protocol, address: &str) -> Vec<String> {
        let responses = Responses::of(config, "stcp", "sudp");
        let words = |response| match response {
            Response::HostsDeny(line) => format!("deny {line}"),
            Response::Route(command) => format!("route {command}"),
            Response::Set => "set".to_owned(),
            Response::Run(command) => format!("run {command}"),
        };
        responses.about(protocol, address.parse().unwrap(), 111).into_iter().map(words).collect()
    }

    const DENY: &str = "deny ALL: 192.0.2.1 : DENY";
    const ROUTE: &str = "route /sbin/iptables -I INPUT -s 192.0.2.1 -j DROP";

    #[test]
    fn who_is_only_told_of_is_heard_on() {
        let drops = |config: &PortsentryConfig| Responses::of(config, "stcp", "sudp").drops_incoming();
        let by_set = PortsentryConfig { kill_route: None, ..config() };
        assert!(drops(&config()) && drops(&by_set));
        let command_only = PortsentryConfig { block_tcp: BlockMode::CommandOnly, ..by_set };
        assert!(!drops(&command_only), "no block, so nothing is dropped");
    }

    #[test]
    fn the_order_is_the_measured_one() {
        let run = "run /bin/echo 192.0.2.1 111 stcp";
        assert_eq!(about(&config(), Protocol::Tcp, "192.0.2.1"), [DENY, ROUTE, run]);
        let first = PortsentryConfig { kill_run_cmd_first: true, ..config() };
        assert_eq!(about(&first, Protocol::Tcp, "192.0.2.1"), [run, DENY, ROUTE]);
        assert_eq!(
            about(&config(), Protocol::Udp, "192.0.2.1"),
            ["run /bin/echo 192.0.2.1 111 sudp"],
            "2 is the command alone"
        );
    }

    #[test]
    fn our_set_stands_in_where_no_command_can_shut_out() {
        let none = PortsentryConfig { kill_route: None, kill_run_cmd: None, ..config() };
        assert_eq!(about(&none, Protocol::Tcp, "192.0.2.1"), [DENY, "set"]);
        let beyond = about(&config(), Protocol::Tcp, "2001:db8::1");
        assert_eq!(beyond[..2], ["deny ALL: [2001:db8::1] : DENY", "set"]);
        let nobody = PortsentryConfig { kill_route: Some("/sbin/halt".into()), ..config() };
        assert_eq!(about(&nobody, Protocol::Tcp, "192.0.2.1")[1], "set");
        assert_eq!(Responses::without_target(&nobody), ["KILL_ROUTE"]);
    }

    #[test]
    fn nothing_is_done_where_events_are_only_told() {
        let told = PortsentryConfig { block_tcp: BlockMode::LogOnly, ..config() };
        assert!(about(&told, Protocol::Tcp, "192.0.2.1").is_empty());
    }

    #[test]
    fn what_was_done_before_a_reboot_is_done_again_only_where_it_is_gone() {
        let done = Effects {
            hosts_deny: Some("ALL: 192.0.2.1".into()),
            route: Some("route".into()),
            boot: "one".into(),
            has_run: true,
        };
        let responses =
            Responses::of(&config(), "stcp", "sudp").about(Protocol::Tcp, "192.0.2.1".parse().unwrap(), 111);
        let left = |boot| responses.iter().filter(|own| !own.is_done(&done, boot)).count();
        assert_eq!((left("one"), left("two")), (0, 1));
    }
}
