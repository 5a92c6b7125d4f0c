//! What a well-known shell form lets in.

use super::words;

/// The port to which this command lets the packets of `address` in, and nothing else, as protocol (`tcp`, `udp`) and
/// ports: iptables and ip6tables with `-A` or `-I INPUT … -j ACCEPT`, and `ufw allow`. `address` stands in the command as
/// it is (`%IP%`). `None` if that is not known.
#[must_use]
pub fn opened(command: &str, address: &str) -> Option<(&'static str, Vec<u16>)> {
    let [command] = words::commands(command)?.try_into().ok()?;
    let (program, arguments) = command.split_first()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match program.rsplit('/').next()? {
        "iptables" | "ip6tables" | "iptables-nft" | "ip6tables-nft" | "iptables-legacy"
        | "ip6tables-legacy" => iptables(&arguments, address),
        "ufw" => ufw(&arguments, address),
        _ => None,
    }
}

/// Whether `stop` undoes exactly what `start` has done.
#[must_use]
pub fn undoes(start: &str, stop: &str) -> bool {
    let inverse = super::inverse(start).and_then(|inverse| words::commands(&inverse));
    inverse.is_some() && inverse == words::commands(stop)
}

fn iptables(arguments: &[&str], address: &str) -> Option<(&'static str, Vec<u16>)> {
    let (mut protocol, mut ports) = (None, None);
    let (mut is_input, mut is_source, mut is_accept) = (false, false, false);
    let mut words = arguments.iter().copied().peekable();
    while let Some(word) = words.next() {
        match word {
            "-w" | "--wait" => {}
            "-A" | "--append" | "-I" | "--insert" if !is_input => {
                is_input = words.next()? == "INPUT";
                if matches!(word, "-I" | "--insert") {
                    words.next_if(|next| next.parse::<u32>().is_ok());
                }
                if !is_input {
                    return None;
                }
            }
            "-s" | "--source" | "--src" if !is_source => {
                let source = words.next()?;
                let is_host = matches!(source.strip_prefix(address), Some("" | "/32" | "/128"));
                is_source = is_host;
                if !is_host {
                    return None;
                }
            }
            "-p" | "--protocol" if protocol.is_none() => protocol = Some(named(words.next()?)?),
            "-m" | "--match" => {
                if !matches!(words.next()?, "tcp" | "udp" | "state" | "conntrack" | "multiport" | "comment") {
                    return None;
                }
            }
            "--state" | "--ctstate" => {
                if !words.next()?.split(',').any(|state| state == "NEW") {
                    return None;
                }
            }
            "--syn" => {}
            "--comment" => {
                words.next()?;
            }
            "--dport" | "--destination-port" | "--dports" if ports.is_none() => {
                ports = Some(numbers(words.next()?)?);
            }
            "-j" | "--jump" if !is_accept => {
                is_accept = words.next()? == "ACCEPT";
                if !is_accept {
                    return None;
                }
            }
            _ => return None,
        }
    }
    (is_input && is_source && is_accept).then_some((protocol?, ports?))
}

/// `ufw [insert N] allow [proto P] from %IP% to any port N [proto P]`; without a protocol it is both, and not known here.
fn ufw(arguments: &[&str], address: &str) -> Option<(&'static str, Vec<u16>)> {
    let rest = match arguments {
        ["insert", number, rest @ ..] if number.parse::<u32>().is_ok() => rest,
        ["prepend", rest @ ..] => rest,
        rest => rest,
    };
    let (protocol, source, port) = match rest {
        ["allow", "proto", protocol, "from", source, "to", "any", "port", port]
        | ["allow", "from", source, "to", "any", "port", port, "proto", protocol] => (protocol, source, port),
        _ => return None,
    };
    (*source == address).then_some(())?;
    Some((named(protocol)?, numbers(port)?))
}

fn named(protocol: &str) -> Option<&'static str> {
    ["tcp", "udp"].into_iter().find(|name| *name == protocol)
}

fn numbers(text: &str) -> Option<Vec<u16>> {
    let services = |text: &str| match text {
        "ssh" => Some(22),
        "http" => Some(80),
        "https" => Some(443),
        other => other.parse().ok().filter(|port| *port > 0),
    };
    text.split(',').map(services).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_opens_one_port_to_an_address_is_known() {
        for (command, expected) in [
            ("/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", Some(("tcp", vec![22]))),
            (
                "/usr/sbin/iptables -I INPUT 1 -s %IP%/32 -p udp -m udp --dport 51820 -j ACCEPT",
                Some(("udp", vec![51820])),
            ),
            (
                "ip6tables -w -I INPUT -s %IP% -p tcp --syn -m state --state NEW --dport ssh -j ACCEPT",
                Some(("tcp", vec![22])),
            ),
            (
                "iptables -I INPUT -s %IP% -p tcp -m multiport --dports 80,443 -j ACCEPT",
                Some(("tcp", vec![80, 443])),
            ),
            ("ufw allow from %IP% to any port 22 proto tcp", Some(("tcp", vec![22]))),
            ("ufw insert 1 allow proto udp from %IP% to any port 53", Some(("udp", vec![53]))),
            ("iptables -A INPUT -s %IP% -j ACCEPT", None),
            ("iptables -A INPUT -p tcp --dport 22 -j ACCEPT", None),
            ("iptables -A INPUT -s %IP%/24 -p tcp --dport 22 -j ACCEPT", None),
            ("iptables -A FORWARD -s %IP% -p tcp --dport 22 -j ACCEPT", None),
            ("iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", None),
            ("iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP", None),
            ("iptables -A INPUT -i eth0 -s %IP% -p tcp --dport 22 -j ACCEPT", None),
            ("iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT; logger x", None),
            ("iptables -A INPUT -s %IP% -p tcp ! --dport 22 -j ACCEPT", None),
            ("ufw allow from %IP% to any port 22", None),
            ("ufw allow from any to any port 22 proto tcp", None),
            ("", None),
        ] {
            assert_eq!(opened(command, "%IP%"), expected, "{command}");
        }
    }

    #[test]
    fn only_the_exact_inverse_undoes() {
        let start = "/sbin/iptables -I INPUT 1 -s %IP% -p tcp --dport 22 -j ACCEPT";
        assert!(undoes(start, "/sbin/iptables  -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT"));
        for other in [
            "/sbin/iptables -D INPUT -s %IP% -p tcp --dport 23 -j ACCEPT",
            "/usr/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            "",
        ] {
            assert!(!undoes(start, other), "{other}");
        }
        assert!(!undoes("echo", ""), "what is not known has no inverse");
    }
}
