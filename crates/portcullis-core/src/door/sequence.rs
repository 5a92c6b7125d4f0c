//! Sequences of ports: what they are, and how likely it is to guess one.

use std::time::Duration;

use crate::net::{PortSet, Protocol};
use crate::wire::TcpFlags;

/// No sequence is longer (knockd 0.8, measured).
pub const LONGEST: usize = 32;

/// What the flags of a TCP packet must be. Flags that are named in neither are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagTests {
    /// These must all be set.
    pub must: u8,
    /// None of these may be set.
    pub must_not: u8,
}

impl FlagTests {
    /// A SYN that opens a connection: SYN without ACK.
    pub const SYN: FlagTests = FlagTests { must: TcpFlags::SYN, must_not: TcpFlags::ACK };

    /// Whether a packet with these flags passes.
    #[must_use]
    pub fn pass(self, flags: TcpFlags) -> bool {
        flags.has(self.must) && flags.0 & self.must_not == 0
    }
}

/// One packet of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its destination port, never 0.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What flags it must have, if it is a TCP packet.
    pub flags: FlagTests,
}

/// A sequence: 1 to [`LONGEST`] steps within a time.
#[derive(Clone, PartialEq, Eq)]
pub struct Sequence {
    steps: Vec<Step>,
    window: Duration,
}

/// Why steps make no sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// There is none.
    Empty,
    /// More than [`LONGEST`].
    TooLong,
    /// This step (from 1) has port 0, which no packet can be sent to by ordinary means.
    PortZero(usize),
    /// This step (from 1) is neither TCP nor UDP.
    Protocol(usize),
}

impl std::fmt::Display for SequenceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SequenceError::Empty => f.write_str("a sequence has at least one step"),
            SequenceError::TooLong => write!(f, "a sequence has at most {LONGEST} steps"),
            SequenceError::PortZero(step) => write!(f, "step {step} has port 0; ports are 1 to 65535"),
            SequenceError::Protocol(step) => write!(f, "step {step} is neither tcp nor udp"),
        }
    }
}

impl std::error::Error for SequenceError {}

impl std::fmt::Debug for Sequence {
    /// Without the ports: whoever reads a log shall not learn them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sequence({} steps within {:?})", self.steps.len(), self.window)
    }
}

impl Sequence {
    /// These steps, of which the last comes less than `window` after the first, in real time. With a window of 0 only
    /// one step can be made (knockd 0.8, measured).
    ///
    /// # Errors
    /// There are too few or too many steps, or one of them is no port of TCP or UDP.
    pub fn new(steps: Vec<Step>, window: Duration) -> Result<Sequence, SequenceError> {
        if steps.is_empty() {
            return Err(SequenceError::Empty);
        }
        if steps.len() > LONGEST {
            return Err(SequenceError::TooLong);
        }
        for (step, number) in steps.iter().zip(1..) {
            match step {
                Step { port: 0, .. } => return Err(SequenceError::PortZero(number)),
                Step { protocol: Protocol::Sctp | Protocol::Icmp | Protocol::Ip, .. } => {
                    return Err(SequenceError::Protocol(number));
                }
                _ => {}
            }
        }
        Ok(Sequence { steps, window })
    }

    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The time for all of it, from the first step.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// How many steps; at least 1.
    #[must_use]
    pub fn length(&self) -> u8 {
        // `new` has made sure that it is at most 32.
        self.steps.len() as u8
    }

    /// Whether each port is above, or each below, the one before it: a plain scan comes by in the same order, and
    /// only what else it touches tells it apart.
    #[must_use]
    pub fn is_in_scanning_order(&self) -> bool {
        let pairs = || self.steps.windows(2);
        self.steps.len() > 1
            && (pairs().all(|pair| pair[0].port < pair[1].port)
                || pairs().all(|pair| pair[0].port > pair[1].port))
    }

    /// How many sequences there are of this length and these protocols, as bits: a single try of someone who knows all
    /// but the ports opens with a chance of 1 in 2 to this power. Each step is worth 16 bits, less a hair.
    #[must_use]
    pub fn bits(&self) -> f64 {
        self.steps.len() as f64 * f64::from(u16::MAX).log2()
    }

    /// The chance (0 to 1) that somebody who tries without pause for a `day` of 86,400 s gets in, if each try of this
    /// many packets may begin as soon as the last one failed, at so many packets a second, from one address with this
    /// `patience`.
    #[must_use]
    pub fn chance_in_a_day(&self, packets_per_second: f64, patience: Option<super::Patience>) -> f64 {
        const DAY: f64 = 86_400.0;
        // Where a first step is not right there is no failed try that could be counted: only whoever knows it, or has
        // come by it, is slowed down. So the patience bounds tries that got at least that far.
        let first = f64::from(u16::MAX);
        let blind = DAY * packets_per_second / self.steps.len() as f64 / first;
        let begun = match patience {
            Some(patience) => {
                let rounds = DAY / patience.pause.as_secs_f64().max(1.0);
                blind.min(rounds * f64::from(patience.tries))
            }
            None => blind,
        };
        let rest = 2_f64.powf(self.bits() - first.log2());
        if self.steps.len() == 1 {
            return (DAY * packets_per_second / first).min(1.0);
        }
        -(begun * (-1.0 / rest).ln_1p()).exp_m1()
    }
}

/// Sequences that are used once each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTime {
    /// Those unused, in the file's order, each with the number by which [`crate::event::Action::Spend`] names it.
    pub sequences: Vec<(u32, Sequence)>,
    /// How many of the unused ones are listened for, from 1: a guest whose knock was lost on its way goes on to his
    /// next one. Using one uses up those before it (as with counters, RFC 4226 §7.4). As knockd did: 1.
    pub ahead: usize,
}

/// The ports of these sequences, for whoever has to let them through to us.
#[must_use]
pub fn ports<'a>(sequences: impl IntoIterator<Item = &'a Sequence>, protocol: Protocol) -> PortSet {
    let steps = sequences.into_iter().flat_map(|sequence| &sequence.steps);
    PortSet::from_ranges(steps.filter(|step| step.protocol == protocol).map(|step| (step.port, step.port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ports: &[u16]) -> Result<Sequence, SequenceError> {
        let steps =
            ports.iter().map(|&port| Step { port, protocol: Protocol::Tcp, flags: FlagTests::SYN }).collect();
        Sequence::new(steps, Duration::from_secs(5))
    }

    #[test]
    fn a_sequence_has_one_to_thirty_two_real_ports() {
        assert_eq!(sequence(&[]), Err(SequenceError::Empty));
        assert_eq!(sequence(&[7000, 0]), Err(SequenceError::PortZero(2)));
        assert_eq!(sequence(&[1; 33]), Err(SequenceError::TooLong));
        assert_eq!(sequence(&[1; 32]).unwrap().length(), 32);
    }

    #[test]
    fn ports_are_not_told_by_accident() {
        assert!(!format!("{:?}", sequence(&[7000, 8000]).unwrap()).contains("7000"));
    }

    #[test]
    fn an_order_that_a_scan_has_too_is_known() {
        for (ports, expected) in
            [(&[7000, 8000, 9000][..], true), (&[3, 2, 1], true), (&[7000, 9000, 8000], false), (&[7], false)]
        {
            assert_eq!(sequence(ports).unwrap().is_in_scanning_order(), expected, "{ports:?}");
        }
    }

    #[test]
    fn guessing_gets_harder_with_each_step_and_with_patience() {
        let chance = |ports: &[u16], patience| sequence(ports).unwrap().chance_in_a_day(1000.0, patience);
        assert_eq!(chance(&[1], None), 1.0);
        let two = chance(&[1, 2], None);
        let three = chance(&[1, 2, 3], None);
        assert!(two > 0.005 && two < 0.02, "{two}");
        assert!(three > 0.0 && three < two / 10_000.0, "{three}");
        let slow = chance(&[1, 2], Some(super::super::Patience::default()));
        assert!(slow <= two && slow > 0.0);
    }

    #[test]
    fn flags_must_and_must_not_be_set() {
        let syn_ack = TcpFlags(TcpFlags::SYN | TcpFlags::ACK);
        assert!(!FlagTests::SYN.pass(syn_ack) && FlagTests::SYN.pass(TcpFlags(TcpFlags::SYN)));
        assert!(FlagTests { must: TcpFlags::SYN, must_not: 0 }.pass(syn_ack));
        assert!(FlagTests::default().pass(TcpFlags(0)));
    }
}
