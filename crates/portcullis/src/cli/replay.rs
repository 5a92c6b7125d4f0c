//! `replay`: the declaration of its arguments.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// Captures (pcap or pcapng), one stream in this order; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The configuration [default: built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The addresses that were guarded, separated by commas; any takes every destination for one
    /// [default: any]
    #[arg(long, value_name = "ADDR,…")]
    pub local: Option<Local>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Whose scans a replay looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// Every destination is guarded.
    Any,
    /// These are.
    Addresses(Vec<IpAddr>),
}

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Local, String> {
        if text == "any" {
            return Ok(Local::Any);
        }
        let parse = |part: &str| {
            part.trim().parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| {
                format!(
                    "\"{}\" is no address; write addresses separated by commas, or any",
                    part.escape_debug()
                )
            })
        };
        text.split(',').map(parse).collect::<Result<_, _>>().map(Local::Addresses)
    }
}
