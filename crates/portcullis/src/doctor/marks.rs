//! Bits of the packet mark: who uses which, and which is free.
//!
//! A door's bit must be nobody else's: where another one sets it, a stranger is taken for a guest by the rule that honours
//! it; where another one asks for it, a guest goes ways that are not meant for him.

use std::collections::BTreeSet;

use portcullis_sys::nftables::ruleset::{
    Chain, Comparison, Expression, Field, Register, Ruleset, Test, Verdict,
};
use portcullis_sys::route::MarkRule;

use super::way::walk::Spot;

/// Bits that are proposed, in this order: none of them is of the well-known users (Kubernetes 0x4000 and 0x8000,
/// Tailscale 0xff0000, Calico 0xffff0000, Cilium 0x0f00, wg-quick 0xca6c), and 1 and 2 are what many take first.
const PREFERRED: [u32; 6] = [0x2000, 0x1000, 0x80, 0x10, 0x2, 0x1];

/// What somebody does with the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The bits.
    pub bits: u32,
    /// Where: `rule 3 of chain INPUT in table ip filter`, `ip rule 5210`.
    pub place: String,
    /// Whether it sets them, rather than asks for them.
    pub sets: bool,
    /// Whether it lets pass what bears exactly these bits, and does no more.
    pub honours: bool,
    /// Whose it is, if that can be told.
    pub whose: Option<&'static str>,
}

/// Every use of the mark in the rules of others than `ours`, and in routing rules.
#[must_use]
pub fn uses(ruleset: Option<&Ruleset>, routing: &[MarkRule], ours: &str) -> Vec<Use> {
    let mut all = Vec::new();
    let chains = ruleset.into_iter().flat_map(|ruleset| &ruleset.chains).filter(|chain| chain.table != ours);
    for chain in chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            let at = Spot {
                family: chain.family,
                table: chain.table.clone(),
                chain: chain.name.clone(),
                rule: Some((index + 1, rule.handle)),
            };
            let honours = matches!(rule.expressions.last(), Some(Expression::Verdict(Verdict::Accept)));
            for (bits, sets) in of_rule(&rule.expressions) {
                all.push(Use {
                    bits,
                    place: at.to_string(),
                    sets,
                    honours: honours && !sets,
                    whose: owner_of_chain(chain).or_else(|| owner_of_bits(bits)),
                });
            }
        }
    }
    all.extend(routing.iter().map(|rule| {
        let bits = if rule.mask == u32::MAX { rule.mark } else { rule.mask };
        Use {
            bits,
            place: format!("ip rule {} (fwmark {:#x}/{:#x})", rule.priority, rule.mark, rule.mask),
            sets: false,
            honours: false,
            whose: owner_of_bits(bits),
        }
    }));
    all
}

/// Those that are in the way of a door with this bit.
#[must_use]
pub fn conflicts(uses: &[Use], bit: u32) -> Vec<&Use> {
    uses.iter().filter(|own| own.bits & bit != 0 && !(own.honours && own.bits == bit)).collect()
}

/// A bit that nobody uses; `None` if there is none left.
#[must_use]
pub fn free_bit(uses: &[Use]) -> Option<u32> {
    let used = uses.iter().fold(0, |bits, own| bits | own.bits);
    let any = (0..32).map(|shift| 1 << shift);
    PREFERRED.into_iter().chain(any).find(|bit| used & bit == 0)
}

/// The bits that a rule asks for or sets.
fn of_rule(expressions: &[Expression]) -> BTreeSet<(u32, bool)> {
    /// What a register holds: the mark with these bits of it left, or changed so.
    #[derive(Clone, Copy)]
    enum Held {
        Mark { mask: u32, flip: u32 },
        Value(u32),
    }
    let mut held: [Option<Held>; 64] = [None; 64];
    let at = |held: &[Option<Held>; 64], register: Register| held.get(register).copied().flatten();
    let mut found = BTreeSet::new();
    for expression in expressions {
        match expression {
            Expression::Load { into, field } => {
                if let Some(place) = held.get_mut(*into) {
                    *place = (*field == Field::Meta(3)).then_some(Held::Mark { mask: u32::MAX, flip: 0 });
                }
            }
            Expression::Value { into, value } => {
                if let Some(place) = held.get_mut(*into) {
                    *place = number(value).map(Held::Value);
                }
            }
            Expression::Bitwise { from, into, mask, flip } => {
                let new = match (at(&held, *from), number(mask), number(flip)) {
                    (Some(Held::Mark { mask: old, flip: turned }), Some(mask), Some(flip)) => {
                        Some(Held::Mark { mask: old & mask, flip: (turned & mask) ^ flip })
                    }
                    _ => None,
                };
                if let Some(place) = held.get_mut(*into) {
                    *place = new;
                }
            }
            Expression::Compare { register, how, value } => {
                if let (Some(Held::Mark { mask, flip }), Some(value)) = (at(&held, *register), number(value))
                {
                    // "Does it bear any?" asks for all bits of the mask, "is it this?" without a mask for its own.
                    let is_whole = mask == u32::MAX;
                    let is_exact = matches!(how, Comparison::Equal | Comparison::NotEqual);
                    found.insert((if is_whole && is_exact { value ^ flip } else { mask }, false));
                }
            }
            Expression::Range { register, .. } | Expression::Lookup { register, .. } => {
                if let Some(Held::Mark { mask, .. }) =
                    at(&held, *register).filter(|own| !matches!(own, Held::Mark { mask: u32::MAX, .. }))
                {
                    found.insert((mask, false));
                }
            }
            Expression::SetMark { from } => match at(&held, *from) {
                Some(Held::Mark { mask, flip }) => drop(found.insert((field(mask, flip), true))),
                Some(Held::Value(value)) => drop(found.insert((value, true))),
                None => {}
            },
            Expression::ChangeMark { keep, flip } => drop(found.insert((field(*keep, *flip), true))),
            Expression::Test { test: Test::Mark { mask, value }, .. } => {
                found.insert((if *mask == u32::MAX { *value } else { *mask }, false));
            }
            _ => {}
        }
    }
    found.retain(|(bits, _)| *bits != 0);
    found
}

/// The bits that are somebody's who keeps these of the mark and turns those: all that he does not keep, or where he
/// keeps none, those that he sets.
fn field(keep: u32, flip: u32) -> u32 {
    if keep == 0 { flip } else { flip | !keep }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn owner_of_chain(chain: &Chain) -> Option<&'static str> {
    const OWNERS: [(&str, &str); 7] = [
        ("KUBE-", "Kubernetes"),
        ("ts-", "Tailscale"),
        ("cali-", "Calico"),
        ("CILIUM_", "Cilium"),
        ("DOCKER", "Docker"),
        ("wg-quick", "WireGuard (wg-quick)"),
        ("LIBVIRT_", "libvirt"),
    ];
    let starts = |name: &str| OWNERS.iter().find(|(start, _)| name.starts_with(start));
    starts(&chain.name).or_else(|| starts(&chain.table)).map(|(_, owner)| *owner)
}

/// By the bits alone, where they are known enough.
fn owner_of_bits(bits: u32) -> Option<&'static str> {
    Some(match bits {
        0x4000 | 0x8000 | 0xc000 => "Kubernetes",
        0x0004_0000 | 0x0008_0000 | 0x00ff_0000 => "Tailscale",
        0xffff_0000 => "Calico",
        0x0f00 => "Cilium",
        0xca6c => "WireGuard (wg-quick)",
        _ => return None,
    })
}
