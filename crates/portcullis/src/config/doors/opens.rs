//! What a door opens: `tcp/22, udp/51820`.

use std::fmt;

use portcullis_core::net::PortSet;

use super::step::{Slip, pieces};

/// Ports of both protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// TCP ports.
    pub tcp: PortSet,
    /// UDP ports.
    pub udp: PortSet,
}

impl Opens {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// Reads `tcp/22, tcp/8000-8010, udp/51820`.
    ///
    /// # Errors
    /// The first part that is none.
    pub fn read(text: &str) -> Result<Opens, Slip> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        if text.trim().is_empty() {
            return Ok(Opens::default());
        }
        for (start, item) in pieces(text, ',') {
            let slip = |message: String, mend: &str| Slip {
                within: start..start + item.len(),
                message,
                mend: mend.to_owned(),
            };
            let Some((protocol, ports)) = item.split_once('/') else {
                let mend = "write the protocol and the port, such as tcp/22 or udp/51820";
                return Err(slip(format!("\"{item}\" does not say its protocol"), mend));
            };
            let list = match protocol.trim().to_ascii_lowercase().as_str() {
                "tcp" => &mut tcp,
                "udp" => &mut udp,
                _ => return Err(slip(format!("\"{protocol}\" has no doors"), "write tcp/… or udp/…")),
            };
            let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
            match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
                (Ok(low), Ok(high)) if low > high => {
                    let mend = format!("write {protocol}/{high}-{low}");
                    return Err(slip(format!("the range {ports} runs backwards"), &mend));
                }
                (Ok(low @ 1..), Ok(high)) => list.push((low, high)),
                _ => {
                    let mend = "write a port from 1 to 65535, or a range such as tcp/8000-8010";
                    return Err(slip(format!("\"{ports}\" is no port"), mend));
                }
            }
        }
        Ok(Opens { tcp: PortSet::from_ranges(tcp), udp: PortSet::from_ranges(udp) })
    }
}

impl fmt::Display for Opens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (protocol, ports) in [("tcp", &self.tcp), ("udp", &self.udp)] {
            for (low, high) in ports.ranges() {
                write!(f, "{separator}{protocol}/{low}")?;
                if low != high {
                    write!(f, "-{high}")?;
                }
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_their_protocols() {
        let opens = Opens::read("tcp/22, UDP/51820,tcp/8000-8010").unwrap();
        assert_eq!(opens.to_string(), "tcp/22, tcp/8000-8010, udp/51820");
        assert_eq!(Opens::read(&opens.to_string()), Ok(opens));
        assert!(Opens::read("").unwrap().is_empty());
        for (text, wrong, message) in [
            ("22", "22", "\"22\" does not say its protocol"),
            ("tcp/22, icmp/8", "icmp/8", "\"icmp\" has no doors"),
            ("tcp/0", "tcp/0", "\"0\" is no port"),
            ("tcp/ssh", "tcp/ssh", "\"ssh\" is no port"),
            ("tcp/9-8", "tcp/9-8", "the range 9-8 runs backwards"),
            ("tcp/22,", "", "\"\" does not say its protocol"),
        ] {
            let slip = Opens::read(text).unwrap_err();
            assert_eq!((&text[slip.within], slip.message.as_str()), (wrong, message), "{text}");
        }
    }
}
