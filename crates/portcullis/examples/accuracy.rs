//! `cargo xtask bench accuracy`: how well captures are judged, over the whole corpus.
//!
//! `[--seeds N] [--faults] [FAMILY…]`: how many captures of each family, whether every fault is told, and only families
//! whose names contain one of these words.

#[path = "../tests/accuracy/judging.rs"]
mod judging;

use std::process::ExitCode;

use corpus::score::Report;

fn main() -> ExitCode {
    let (mut seeds, mut tells_faults, mut wanted) = (20, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number) => seeds = number,
                None => {
                    eprintln!("accuracy: --seeds wants a number");
                    return ExitCode::from(2);
                }
            },
            "--faults" => tells_faults = true,
            _ => wanted.push(argument),
        }
    }
    let mut families = corpus::families();
    families
        .retain(|family| wanted.is_empty() || wanted.iter().any(|word| family.name.contains(word.as_str())));
    if families.is_empty() {
        eprintln!("accuracy: no family is called so: {}", wanted.join(", "));
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    for family in families {
        for seed in 0..seeds {
            judging::add(&mut report, &family.scenario(seed));
        }
    }
    if tells_faults {
        for fault in &report.faults {
            println!("{fault}");
        }
        println!();
    }
    println!("{}", report.table());
    for (target, figure, is_met) in report.targets() {
        println!("{} | {figure} | {target}", if is_met { "met" } else { "MISSED" });
    }
    ExitCode::SUCCESS
}
