//! `cargo xtask corpus DIR [SEEDS]`: writes the corpus as captures, to be looked at.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds = match arguments.get(1).map(|seeds| seeds.parse::<u64>()) {
        None => Some(1),
        Some(seeds) => seeds.ok(),
    };
    let (Some(directory), Some(seeds), true) = (arguments.first(), seeds, arguments.len() <= 2) else {
        eprintln!(
            "usage: cargo xtask corpus DIR [SEEDS]\n  SEEDS: how many captures of each family [default: 1]"
        );
        return ExitCode::from(2);
    };
    let scenarios =
        corpus::families().into_iter().flat_map(|family| (0..seeds).map(move |seed| family.scenario(seed)));
    match corpus::pcap::write(Path::new(directory), scenarios) {
        Ok(written) => {
            println!("{written} captures in {directory}; who is to blame in which stands in truth.tsv");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("corpus: {directory}: {error}");
            ExitCode::FAILURE
        }
    }
}
