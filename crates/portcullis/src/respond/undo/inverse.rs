//! The inverse of a single command.

use std::net::IpAddr;

/// The words of the command that undoes this one.
pub(super) fn of(command: &[String]) -> Option<Vec<String>> {
    let (program, arguments) = command.split_first()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let undone = match program.rsplit('/').next()? {
        "iptables" | "ip6tables" | "iptables-nft" | "ip6tables-nft" | "iptables-legacy"
        | "ip6tables-legacy" => iptables(&arguments)?,
        "route" => route(&arguments)?,
        "ip" => ip(&arguments)?,
        "ipset" => ipset(&arguments)?,
        "nft" => nft(&arguments)?,
        "ufw" => ufw(&arguments)?,
        "firewall-cmd" => firewall_cmd(&arguments)?,
        _ => return None,
    };
    Some(std::iter::once(program.clone()).chain(undone).collect())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// iptables(8): `-A` and `-I` become `-D`, and the place of an insertion goes.
fn iptables(arguments: &[&str]) -> Option<Vec<String>> {
    let mut undone = Vec::new();
    let mut is_found = false;
    let mut words = arguments.iter().peekable();
    while let Some(&word) = words.next() {
        match word {
            "-I" | "--insert" | "-A" | "--append" if !is_found => {
                is_found = true;
                let chain = words.next().filter(|chain| !chain.starts_with('-'))?;
                undone.extend(owned(&["-D", chain]));
                if matches!(word, "-I" | "--insert") {
                    words.next_if(|next| is_number(next));
                }
            }
            // Counters can't be given to a deletion.
            "-c" | "--set-counters" => return None,
            // Commands, also with their chain attached, and abbreviated long options, among which commands hide.
            _ if word.starts_with('-') && !word.starts_with("--") => {
                if word.chars().nth(1).is_some_and(|letter| "ADCIRLSFZNXPEV".contains(letter)) {
                    return None;
                }
                undone.push(word.to_owned());
            }
            _ if COMMANDS.iter().any(|command| {
                word.strip_prefix("--").is_some_and(|word| {
                    let word = word.split('=').next().unwrap_or(word);
                    word.len() > 1 && command.starts_with(word)
                })
            }) =>
            {
                return None;
            }
            _ => undone.push(word.to_owned()),
        }
    }
    is_found.then_some(undone)
}

/// Long commands of iptables(8).
const COMMANDS: [&str; 14] = [
    "append",
    "delete",
    "check",
    "insert",
    "replace",
    "list",
    "list-rules",
    "flush",
    "zero",
    "new-chain",
    "delete-chain",
    "policy",
    "rename-chain",
    "version",
];

/// route(8) of net-tools. What other systems call `route` takes other words, and is not known.
fn route(arguments: &[&str]) -> Option<Vec<String>> {
    let place = arguments.iter().position(|word| *word == "add")?;
    let (options, rest) = (&arguments[..place], &arguments[place + 1..]);
    are_options(options, &["-v", "-4", "-6", "--inet", "--inet6"], &["-A"])?;
    let mut words = rest.iter();
    let target = match *words.next()? {
        "-host" | "-net" => words.next()?,
        target => target,
    };
    if target.starts_with('-') {
        return None;
    }
    while let Some(&word) = words.next() {
        match word {
            "reject" | "mod" | "dyn" | "reinstate" => {}
            "netmask" | "gw" | "metric" | "mss" | "window" | "irtt" | "dev" => {
                words.next().filter(|value| !value.starts_with('-'))?;
            }
            _ => return None,
        }
    }
    let mut undone = owned(options);
    undone.push("del".to_owned());
    undone.extend(owned(rest));
    Some(undone)
}

/// ip-route(8) and ip-rule(8).
fn ip(arguments: &[&str]) -> Option<Vec<String>> {
    let object = arguments.iter().position(|word| matches!(*word, "route" | "ro" | "r" | "rule" | "ru"))?;
    are_options(&arguments[..object], &["-4", "-6"], &["-f", "-family"])?;
    let rest = arguments.get(object + 1..)?;
    let (verb, what) = rest.split_first()?;
    if *verb != "add" || what.is_empty() || what.contains(&"nexthop") {
        return None;
    }
    let mut undone = owned(&arguments[..=object]);
    undone.push("del".to_owned());
    undone.extend(owned(what));
    Some(undone)
}

/// Whether these are only such options, alone or with a value.
fn are_options(words: &[&str], alone: &[&str], with_value: &[&str]) -> Option<()> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if with_value.contains(word) {
            words.next()?;
        } else if !alone.contains(word) {
            return None;
        }
    }
    Some(())
}

/// ipset(8): an entry is deleted without what belongs to its making (timeout, comment, counters).
fn ipset(arguments: &[&str]) -> Option<Vec<String>> {
    let is_exist = |word: &str| matches!(word, "-exist" | "-!" | "--exist");
    let is_quiet = |word: &str| matches!(word, "-q" | "-quiet" | "--quiet");
    let words: Vec<&str> =
        arguments.iter().copied().filter(|word| !is_exist(word) && !is_quiet(word)).collect();
    let [verb, set, entry, rest @ ..] = words.as_slice() else { return None };
    let are_known = rest.chunks(2).all(|option| {
        matches!(
            option,
            ["timeout" | "comment" | "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue", _]
        )
    });
    if !matches!(*verb, "add" | "-A" | "--add")
        || !are_known
        || set.starts_with('-')
        || entry.starts_with('-')
    {
        return None;
    }
    let mut undone = owned(&["del", set, entry]);
    // An entry that was there already was no fault; so it is none either if it is gone.
    if arguments.iter().any(|word| is_exist(word)) {
        undone.push("-exist".to_owned());
    }
    Some(undone)
}

/// nft(8), elements of a set. A rule can only be deleted by its handle, which nobody knows.
fn nft(arguments: &[&str]) -> Option<Vec<String>> {
    let text = arguments.join(" ");
    let (head, elements) = text.split_once('{')?;
    let elements = elements.trim().strip_suffix('}')?;
    let mut head: Vec<&str> = head.split_whitespace().collect();
    if !matches!(head.as_slice(), ["add", "element", place @ ..] if matches!(place.len(), 2 | 3))
        || head.iter().any(|word| word.contains([';', '{', '}', '#', '"']) || word.starts_with('-'))
    {
        return None;
    }
    let addresses: Vec<&str> = elements.split(',').map(address_of_element).collect::<Option<_>>()?;
    head[0] = "delete";
    let mut undone = owned(&head);
    let elements = addresses.join(", ");
    undone.extend(match elements.contains(' ') {
        false => owned(&["{", &elements, "}"]),
        true => vec![format!("{{ {elements} }}")],
    });
    Some(undone)
}

/// The address or prefix of an element of a set, without its timeout.
fn address_of_element(element: &str) -> Option<&str> {
    let mut words = element.split_whitespace();
    let prefix = words.next()?;
    let (address, length) = prefix.split_once('/').unwrap_or((prefix, "0"));
    let is_prefix =
        address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= 128);
    let options: Vec<&str> = words.collect();
    let is_timed = matches!(options.as_slice(), [] | ["timeout", _]);
    (is_prefix && is_timed).then_some(prefix)
}

/// ufw(8): a rule is deleted by its words, without its place and its comment.
fn ufw(arguments: &[&str]) -> Option<Vec<String>> {
    let (front, rest) = match arguments {
        ["route", rest @ ..] => (&["route", "delete"][..], rest),
        _ => (&["delete"][..], arguments),
    };
    let rest = match rest {
        ["insert", number, rest @ ..] if is_number(number) => rest,
        ["prepend", rest @ ..] => rest,
        _ => rest,
    };
    let rest = match rest.iter().position(|word| *word == "comment") {
        Some(place) if place + 2 == rest.len() => &rest[..place],
        Some(_) => return None,
        None => rest,
    };
    match rest {
        ["allow" | "deny" | "reject" | "limit", _, ..] => Some([owned(front), owned(rest)].concat()),
        _ => None,
    }
}

/// firewall-cmd(1): what was added is removed, with the same zone and permanence, without a time.
fn firewall_cmd(arguments: &[&str]) -> Option<Vec<String>> {
    const ADDED: [&str; 3] = ["rich-rule", "source", "entry"];
    let mut undone = Vec::new();
    let mut is_found = false;
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let added = name.strip_prefix("--add-").filter(|what| ADDED.contains(what));
        match (name, added) {
            (_, Some(what)) if !is_found => {
                is_found = true;
                let value = value.or_else(|| words.next().copied())?;
                undone.push(format!("--remove-{what}={value}"));
            }
            ("--permanent" | "--quiet" | "-q", None) if value.is_none() => undone.push(word.to_owned()),
            ("--zone" | "--ipset", None) => {
                let value = value.or_else(|| words.next().copied())?;
                undone.push(format!("{name}={value}"));
            }
            ("--timeout", None) => {
                value.or_else(|| words.next().copied())?;
            }
            _ => return None,
        }
    }
    is_found.then_some(undone)
}
