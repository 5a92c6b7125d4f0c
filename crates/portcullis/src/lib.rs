//! The program around the engine: it captures, asks the kernel, carries out what the engine decided, writes it down
//! and answers the operator.

pub mod capture;
pub mod causes;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod escape;
pub mod exit;
pub mod guest;
pub mod keys;
pub mod record;
pub mod replay;
pub mod report;
pub mod respond;
#[cfg(test)]
mod schema;

/// Runs the program with the process's arguments.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
