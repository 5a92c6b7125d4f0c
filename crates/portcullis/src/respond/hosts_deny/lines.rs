//! What a hosts.deny says line by line, as TCP wrappers read it: a backslash at the end joins a line with the next.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

/// The lines that stand alone, with their places in bytes, ends included; blanks at their end (a carriage return too)
/// are cut off. A line that is joined with another is a part of something, and no line. So is one that is no UTF-8.
pub(super) fn single(content: &[u8]) -> impl Iterator<Item = (Range<usize>, &str)> {
    let (mut start, mut is_continued) = (0, false);
    content.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let place = start..start + line.len();
        start = place.end;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let continues = text.ends_with(b"\\");
        let is_single = !std::mem::replace(&mut is_continued, continues) && !continues;
        let text = str::from_utf8(text).ok().filter(|_| is_single)?;
        Some((place, text.trim_ascii_end()))
    })
}

/// What must be written before a new line, so that it begins one.
pub(super) fn what_ends_the_last(content: &[u8]) -> &'static str {
    match content {
        [] => "",
        // An empty line is the rest of one that wants to go on.
        [.., b'\\', b'\n'] => "\n",
        [.., b'\n'] => "",
        [.., b'\\'] => "\n\n",
        _ => "\n",
    }
}

/// The content without these places, which are in order.
pub(super) fn without(content: &[u8], places: &[Range<usize>]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(content.len());
    let mut from = 0;
    for place in places {
        kept.extend_from_slice(&content[from..place.start]);
        from = place.end;
    }
    kept.extend_from_slice(&content[from..]);
    kept
}

/// The host that a line shuts out from every service, if it names one host and nothing else.
pub(super) fn host_of(line: &str) -> Option<IpAddr> {
    let (daemons, rest) = line.split_once(':')?;
    if !daemons.trim_ascii().eq_ignore_ascii_case("ALL") {
        return None;
    }
    let clients = match rest.find('#') {
        // Without a blank before it, it belongs to the word.
        Some(place) if rest[..place].ends_with([' ', '\t']) => &rest[..place],
        Some(_) => return None,
        None => rest,
    };
    let clients = clients.trim_ascii();
    if let Some(address) = address(clients) {
        return Some(address);
    }
    let (client, option) = clients.rsplit_once(':')?;
    option.trim_ascii().eq_ignore_ascii_case("deny").then(|| address(client.trim_ascii())).flatten()
}

fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // PortSentry 2 writes IPv6 addresses without brackets.
        None => text.parse().ok(),
    }
}
