//! What a `KILL_ROUTE` does to a host, as far as it is one of the well-known ones.

use super::words;

/// Stands for the address in a template; no word that anybody writes.
const TARGET: &str = "@TARGET@";

/// Whether this `KILL_ROUTE` does nothing but shut `$TARGET$` out, wholly, by iptables, nft, `route … reject` or
/// `ip route add blackhole`; a rule that besides logs what is dropped, as PortSentry's own example has it, may stand
/// beside it. Such a template may be replaced by our own set without loss but for that log.
#[must_use]
pub fn is_well_known_block(template: &str) -> bool {
    let Some(commands) = commands(template) else { return false };
    let effects: Option<Vec<Effect>> = commands.iter().map(|command| effect(command)).collect();
    effects.is_some_and(|effects| {
        effects.iter().any(|effect| *effect != Effect::Log)
            && effects.iter().all(|effect| *effect != Effect::OtherFilter)
    })
}

/// Whether this `KILL_ROUTE` drops all packets of `$TARGET$` before a socket sees them. A route back that is refused
/// does not: a datagram still arrives.
#[must_use]
pub fn drops_incoming(template: &str) -> bool {
    let Some(commands) = commands(template) else { return false };
    commands.iter().any(|command| matches!(effect(command), Some(Effect::Filter | Effect::OtherFilter)))
}

/// Whether this template can do nothing with an IPv6 address: a command of it takes only IPv4 ones, and none is made for
/// IPv6. What is not known is not said to be so.
#[must_use]
pub fn is_ipv4_only(template: &str) -> bool {
    let Some(commands) = words::commands(&with_marks(template)) else { return false };
    let families: Vec<Option<Family>> = commands.iter().map(|command| family(command)).collect();
    families.contains(&Some(Family::Four)) && !families.contains(&Some(Family::Six))
}

/// What a command does to the host that is its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// All its packets are dropped when they come in, by iptables or nft.
    Filter,
    /// The same by a program with a memory of its own, which nobody but it should change.
    OtherFilter,
    /// Nothing is sent to it any more.
    Unroute,
    /// Its packets are logged.
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Four,
    Six,
}

/// The macros as plain words.
fn with_marks(template: &str) -> String {
    template.replace("$TARGET$", TARGET).replace("$PORT$", "@PORT@").replace("$MODE$", "@MODE@")
}

/// The commands of a template that is about `$TARGET$` and about no port or mode.
fn commands(template: &str) -> Option<Vec<Vec<String>>> {
    let is_about_more =
        template.contains("$PORT$") || template.contains("$MODE$") || template.contains(TARGET);
    if is_about_more { None } else { words::commands(&with_marks(template)) }
}

fn split(command: &[String]) -> Option<(&str, Vec<&str>)> {
    let (program, arguments) = command.split_first()?;
    Some((program.rsplit('/').next()?, arguments.iter().map(String::as_str).collect()))
}

fn is_target(word: &str) -> bool {
    word.strip_prefix(TARGET).is_some_and(|rest| matches!(rest, "" | "/32" | "/128" | "/255.255.255.255"))
}

fn effect(command: &[String]) -> Option<Effect> {
    let (program, arguments) = split(command)?;
    match (program, arguments.as_slice()) {
        (
            "iptables" | "ip6tables" | "iptables-nft" | "ip6tables-nft" | "iptables-legacy"
            | "ip6tables-legacy",
            arguments,
        ) => iptables(arguments),
        // The second name is a slip in the example file of PortSentry 2.
        ("nft" | "nftables", arguments) => nft(&arguments.join(" ")),
        ("route", arguments) => {
            let rest = match arguments {
                ["-A", "inet6", rest @ ..] | ["-6" | "--inet6" | "-4" | "--inet", rest @ ..] => rest,
                rest => rest,
            };
            match rest {
                ["add", "-host", target, "reject"] | ["add", target, "reject"] if is_target(target) => {
                    Some(Effect::Unroute)
                }
                _ => None,
            }
        }
        ("ip", arguments) => {
            let rest = match arguments {
                ["-4" | "-6", rest @ ..] => rest,
                rest => rest,
            };
            match rest {
                ["route" | "ro" | "r", "add", "blackhole" | "prohibit" | "unreachable", target]
                    if is_target(target) =>
                {
                    Some(Effect::Unroute)
                }
                _ => None,
            }
        }
        ("ufw", ["insert", _, rest @ ..] | ["prepend", rest @ ..]) => ufw(rest),
        ("ufw", rest) => ufw(rest),
        ("firewall-cmd", [option]) => rich_rule(option.strip_prefix("--add-rich-rule=")?),
        ("firewall-cmd", ["--add-rich-rule", rule]) => rich_rule(rule),
        _ => None,
    }
}

/// One rule in a chain that all incoming packets pass, with nothing to match but the source.
fn iptables(arguments: &[&str]) -> Option<Effect> {
    let (mut table, mut chain, mut source, mut verdict) = ("filter", None, None, None);
    let mut is_limited = false;
    let mut words = arguments.iter().copied().peekable();
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    while let Some(word) = words.next() {
        match word {
            "-w" | "--wait" => drop(words.next_if(is_number)),
            "-t" | "--table" => table = words.next()?,
            "-I" | "--insert" | "-A" | "--append" if chain.is_none() => {
                chain = Some(words.next()?);
                words.next_if(is_number);
            }
            "-s" | "--source" | "--src" if source.is_none() => source = Some(words.next()?),
            "-j" | "--jump" if verdict.is_none() => verdict = Some(words.next()?),
            "-p" | "--protocol" => drop(words.next().filter(|word| matches!(*word, "all" | "0"))?),
            "-m" | "--match" => {
                is_limited |= words.next().filter(|word| matches!(*word, "limit" | "comment"))? == "limit"
            }
            "--comment" | "--limit" | "--limit-burst" | "--log-prefix" | "--log-level" | "--reject-with" => {
                words.next()?;
            }
            _ => return None,
        }
    }
    let is_for_all = matches!(
        (table, chain?),
        ("filter", "INPUT") | ("raw", "PREROUTING") | ("mangle", "PREROUTING" | "INPUT")
    );
    if !is_for_all || !is_target(source?) {
        return None;
    }
    match verdict? {
        "LOG" | "NFLOG" => Some(Effect::Log),
        "DROP" | "REJECT" if !is_limited => Some(Effect::Filter),
        _ => None,
    }
}

fn nft(text: &str) -> Option<Effect> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["add" | "insert", "rule", place @ ..] = words.as_slice() else { return None };
    let rest = match place {
        [
            "ip" | "ip6" | "inet",
            _,
            "input" | "INPUT" | "prerouting" | "PREROUTING",
            rest @ ..,
        ]
        // Without a family the table is one of ip.
        | [_, "input" | "INPUT" | "prerouting" | "PREROUTING", rest @ ..] => rest,
        _ => return None,
    };
    match rest {
        ["ip" | "ip6", "saddr", target, "drop" | "reject"]
        | ["ip" | "ip6", "saddr", target, "counter", "drop" | "reject"]
            if is_target(target) =>
        {
            Some(Effect::Filter)
        }
        _ => None,
    }
}

fn ufw(rule: &[&str]) -> Option<Effect> {
    match rule {
        ["deny" | "reject", "from", target] | ["deny" | "reject", "from", target, "to", "any"]
            if is_target(target) =>
        {
            Some(Effect::OtherFilter)
        }
        _ => None,
    }
}

/// firewalld.richlanguage(5).
fn rich_rule(rule: &str) -> Option<Effect> {
    let rule = rule.replace(['"', '\''], "");
    let words: Vec<&str> = rule.split_whitespace().collect();
    match words.as_slice() {
        ["rule", "family=ipv4" | "family=ipv6", "source", address, "drop" | "reject"]
            if is_target(address.strip_prefix("address=")?) =>
        {
            Some(Effect::OtherFilter)
        }
        _ => None,
    }
}

/// Which addresses a command takes, if only those of one family.
fn family(command: &[String]) -> Option<Family> {
    let (program, arguments) = split(command)?;
    let text = arguments.join(" ");
    match program {
        "iptables" | "iptables-nft" | "iptables-legacy" | "ipchains" | "ipfwadm" => Some(Family::Four),
        "ip6tables" | "ip6tables-nft" | "ip6tables-legacy" => Some(Family::Six),
        "route" => match arguments.as_slice() {
            ["-A", "inet6", ..] | ["-6" | "--inet6", ..] => Some(Family::Six),
            _ => Some(Family::Four),
        },
        "ip" => match arguments.first() {
            Some(&"-4") => Some(Family::Four),
            Some(&"-6") => Some(Family::Six),
            _ => None,
        },
        "nft" | "nftables" if text.contains(&format!("ip saddr {TARGET}")) => Some(Family::Four),
        "nft" | "nftables" if text.contains(&format!("ip6 saddr {TARGET}")) => Some(Family::Six),
        "firewall-cmd" if text.contains("ipv4") => Some(Family::Four),
        "firewall-cmd" if text.contains("ipv6") => Some(Family::Six),
        _ => None,
    }
}
