//! Names of hosts, as they stand in the allow list.

/// No more names than this are looked up.
pub const HOST_NAMES: usize = 64;

/// Longest name, and longest part of it (RFC 1035 §2.3.4).
const LONGEST: (usize, usize) = (253, 63);

/// Whether this can be the name of a host (RFC 1123 §2.1) and can't be meant as an address: its last part has a letter.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_part = |part: &str| {
        (1..=LONGEST.1).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST.0
        && name.split('.').all(is_part)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        for name in ["home.example.org", "router", "3com.example.", "a_b.example", "xn--bcher-kva.example"] {
            assert!(is_host_name(name), "{name}");
        }
        for text in
            ["203.0.113.300", "10.0.0.0/33", "1.2.3", "", ".", "a..b", "-a.example", "a b", "fe80::1", "a/8"]
        {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
