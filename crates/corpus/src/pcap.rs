//! A scenario as a capture file: classic pcap with microseconds (draft-ietf-opsawg-pcap).

use std::fmt::Write;
use std::path::Path;

use portcullis_core::wire::{Link, build};

use crate::Scenario;

/// The bytes of the file.
///
/// # Panics
/// If the scenario's link is one that no capture has.
#[must_use]
pub fn file(scenario: &Scenario) -> Vec<u8> {
    let link: u32 = match scenario.link {
        Link::Ethernet => 1,
        Link::RawIp => 101,
        Link::CookedV1 => 113,
        Link::CookedV2 => 276,
        Link::Null | Link::Network { .. } => panic!("{:?} is not played", scenario.link),
    };
    let tag = scenario.vlan.filter(|_| scenario.link != Link::RawIp).map(|number| (0x8100, number));
    let tags = tag.as_slice();
    let mut bytes = Vec::with_capacity(scenario.packets.len() * 96);
    bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend((scenario.snap as u32).to_le_bytes());
    bytes.extend(link.to_le_bytes());
    for captured in &scenario.packets {
        let frame = build::tagged(scenario.link, tags, &captured.bytes);
        let kept = frame.len().min(scenario.snap);
        bytes.extend((captured.at.as_secs() as u32).to_le_bytes());
        bytes.extend(captured.at.subsec_micros().to_le_bytes());
        bytes.extend((kept as u32).to_le_bytes());
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(&frame[..kept]);
    }
    bytes
}

/// Writes the scenarios into `directory` as captures, and `truth.tsv` beside them: file, class, local addresses, what
/// it is, and of each scan its sources, kinds and shapes.
///
/// # Errors
/// If something can't be written.
pub fn write(directory: &Path, scenarios: impl Iterator<Item = Scenario>) -> std::io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    let mut truth = String::from("file\tclass\tlocal\tabout\tsources\tkinds\tshapes\n");
    let mut written = 0;
    for scenario in scenarios {
        let name = format!("{}.pcap", scenario.file_name());
        std::fs::write(directory.join(&name), file(&scenario))?;
        let local = join(&scenario.local);
        let about = format!("{name}\t{}\t{local}\t{}", scenario.class.name(), scenario.about);
        if scenario.incidents.is_empty() {
            truth += &format!("{about}\t\t\t\n");
        }
        for incident in &scenario.incidents {
            let (kinds, shapes) = (incident.kinds.join(","), incident.shapes.join(","));
            writeln!(truth, "{about}\t{}\t{kinds}\t{shapes}", join(&incident.sources))
                .expect("a String takes everything");
        }
        written += 1;
    }
    std::fs::write(directory.join("truth.tsv"), truth)?;
    Ok(written)
}

fn join<T: ToString>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}
