//! Our own nftables table: who is shut out, and who never is.
//!
//! ```text
//! table inet portcullis
//!   chain prerouting   hook prerouting, priority raw (-300): before connection tracking and any DNAT
//!   sets  allowed4 allowed6                                         prefixes that pass, whatever else is said
//!         banned4 banned6 banned6_64 banned6_56 banned6_48          hashed, one length each
//!         nets4 nets6                                               prefixes of any other length
//!         held4 held6 held6_64                                      hashed likewise: these begin nothing new
//!   chain held         what of theirs passes (`held`)
//!   chain doors        the same place: who may begin something at a door's port (`doors`)
//!   chain door_NAME                                                 who comes to a door's port goes through it
//!   sets  door_NAME4 door_NAME6                                     the guests of each door
//!         friends4 friends6                                         prefixes that no door shuts out
//! ```
//!
//! Every element may carry a timeout, so that the kernel forgives even if the program is gone. All changes are
//! batches: what one call changes takes effect at one moment, or not at all (many thousands of bans: in parts).
//! Nothing outside the table is read or touched. Called by the program's `respond`, on the thread that reads packets:
//! adding one element takes some 10 µs and never waits, except for the kernel's commit lock while somebody else loads
//! a ruleset.

mod batch;
mod counters;
mod doors;
mod elements;
mod held;
mod layout;
mod monitor;
mod numbers;
pub mod ruleset;

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_core::net::Prefix;

use self::batch::{ADD_ELEMENTS, Batch};
use self::elements::IN_ONE_MESSAGE;
use self::layout::{ALLOWED, BANS, CHAIN, FAMILY, HOLDS, RULES, Set};
use self::numbers::*;
use crate::netlink::message::{Attributes, Message, Writer};
use crate::netlink::socket::Socket;
use crate::netlink::{NetlinkError, Request};

pub use self::counters::Counter;
pub use self::doors::{
    DoorFault, DoorName, DoorRules, DoorTraffic, Doors, Guest, Guests, InterfaceName, Mark, Traffic,
};
pub use self::layout::Element;
pub use self::monitor::{Change, Monitor};

/// How often a list that changed while it was read is read again.
const READINGS: usize = 8;

/// A connection to the kernel's nftables, for one table.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    table: String,
    /// How many bytes one batch may have.
    limit: usize,
    batch: Batch,
    question: Writer,
    /// The elements of one message.
    part: Vec<Element>,
    /// Whether a part of the present change is in force already.
    has_earlier_part: bool,
    /// The doors that there shall be; `None` if nobody has told us.
    doors: Option<Arc<Doors>>,
    /// Whether the kernel can say if there is a socket for a datagram; supposed until it has said no.
    can_ask_for_sockets: bool,
}

/// What the kernel holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those shut out, with the time that remains to each.
    pub elements: Vec<Element>,
    /// Those that are held, likewise; one may be shut out as well.
    pub held: Vec<Element>,
    /// Those that are never shut out.
    pub allowed: Vec<Element>,
    /// Whether table, chain, rules and sets are there as [`Nftables::ensure`] makes them.
    pub is_intact: bool,
    /// Whether nothing changed in nftables while this was read. If it did, `elements` may lack what is there and
    /// hold something twice: good enough to add what is missing, not to delete what is too much.
    pub is_settled: bool,
    /// Elements in our sets that we could not have made (ranges that are no prefix); they are left out above.
    pub foreign: usize,
}

/// How elements go into, or out of, a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They are known to be absent.
    Plain,
    /// Those present get the new time. Adding, deleting and adding works on every kernel, whether they are
    /// present, absent or expire this instant; re-adding alone keeps the old time before Linux 6.12.
    Replace,
    /// Whatever is present goes. Adding first makes the deletion of an absent one succeed.
    Remove,
}

impl Nftables {
    /// Connects for the table `inet table`, which need not exist; see [`Nftables::ensure`].
    ///
    /// # Errors
    /// [`NetlinkError::TableName`]; [`NetlinkError::Open`] if the kernel has no netlink for netfilter. Missing
    /// rights show only at the first request.
    pub fn open(table: &str) -> Result<Nftables, NetlinkError> {
        check_name(table)?;
        let socket = Socket::open(libc::NETLINK_NETFILTER, "nftables")?;
        let limit =
            batch::make_room(&socket).map_err(|source| NetlinkError::Open { family: "nftables", source })?;
        let (batch, question, part) = (Batch::default(), Writer::default(), Vec::new());
        let table = table.to_owned();
        let (doors, can_ask_for_sockets) = (None, true);
        let has_earlier_part = false;
        Ok(Nftables {
            socket,
            table,
            limit,
            batch,
            question,
            part,
            has_earlier_part,
            doors,
            can_ask_for_sockets,
        })
    }

    /// The number by which [`Monitor::disregard`] tells our own changes from those of others.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Makes table, chain, sets and rules, the expected doors with them, whatever of this is missing or was changed,
    /// in one batch. Elements stay. If all is intact nothing is sent, so that the counters stay too.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN one that [`NetlinkError::is_permission`]. A refusal with `EEXIST` or `EOPNOTSUPP`
    /// names a set or chain of our name that is something else: [`Nftables::remove_table`] first.
    pub fn ensure(&mut self) -> Result<(), NetlinkError> {
        match self.make_what_is_missing() {
            Err(error) if self.lacks_sockets(&error) => self.make_what_is_missing(),
            result => result,
        }
    }

    fn make_what_is_missing(&mut self) -> Result<(), NetlinkError> {
        let (are_bans_intact, are_doors_intact) = (self.are_bans_intact()?, self.are_doors_intact()?);
        let standing = if are_doors_intact { None } else { Some(self.standing_doors()?) };
        self.batch.begin(&mut self.socket);
        if !are_bans_intact {
            self.batch_layout();
        }
        self.batch_expected_doors(standing.as_ref());
        self.batch.commit(&mut self.socket)
    }

    /// Makes everything anew: table, chain, sets and rules, the allow list and these bans, each with its time
    /// replaced, and the expected doors. For the moment after somebody flushed the ruleset. All but the bans beyond the first ten thousand
    /// are one batch, so that no packet of an allowed source meets a ban without the allow list.
    ///
    /// # Errors
    /// As [`Nftables::ensure`], [`Nftables::set_allowed`] and [`Nftables::add`].
    pub fn restore(&mut self, allowed: &[Element], bans: &[Element]) -> Result<(), NetlinkError> {
        match self.make_anew(allowed, bans) {
            Err(error) if self.lacks_sockets(&error) => self.make_anew(allowed, bans),
            result => result,
        }
    }

    fn make_anew(&mut self, allowed: &[Element], bans: &[Element]) -> Result<(), NetlinkError> {
        let table = self.table.clone();
        let is_left =
            self.is_there("look up table", "", libc::NFT_MSG_GETTABLE, |out| out.text(TABLE, &table))?;
        self.check_open_ends(bans)?;
        let standing = self.standing_doors()?;
        self.batch.begin(&mut self.socket);
        self.batch_layout();
        self.batch_expected_doors(Some(&standing));
        self.batch_allowed(allowed)?;
        self.has_earlier_part = false;
        self.batch_bans(bans, if is_left { Way::Replace } else { Way::Plain })?;
        self.commit_part()
    }

    /// Shuts these out; those that are shut out already get the new time. If one prefix is named twice, the last
    /// time holds.
    ///
    /// Up to 12,000 are one batch (fewer without the right to a large send buffer: a user namespace before Linux
    /// 5.16). More are several, since the kernel would need hundreds of megabytes for them.
    ///
    /// # Errors
    /// [`NetlinkError::Halfway`] if a batch failed after others had succeeded.
    /// [`NetlinkError::Overlap`] if a prefix that goes into `nets4` or `nets6` shares addresses with another one
    /// there. [`NetlinkError::has_changed_nothing`] says whether the kernel's state is known.
    pub fn add(&mut self, bans: &[Element]) -> Result<(), NetlinkError> {
        match self.change(bans, Way::Replace) {
            // A prefix that is named twice is deleted twice.
            Err(error) if error.refusal() == Some(libc::ENOENT) => {
                let last_of_each = last_of_each(bans);
                if last_of_each.len() == bans.len() {
                    return Err(error);
                }
                self.change(&last_of_each, Way::Replace)
            }
            result => result,
        }
    }

    /// [`Nftables::add`] for those that are known to be absent: a third of the work, and 38,000 in one batch. An
    /// element that is there all the same is no fault, but keeps its old time on kernels before 6.12.
    ///
    /// # Errors
    /// As [`Nftables::add`].
    pub fn add_new(&mut self, bans: &[Element]) -> Result<(), NetlinkError> {
        self.change(bans, Way::Plain)
    }

    /// Lets these in again, whether they are shut out or held; one that is neither is no fault. Only exactly this
    /// prefix is removed, not what lies within it.
    ///
    /// # Errors
    /// [`NetlinkError::has_changed_nothing`] says whether the kernel's state is known.
    pub fn remove(&mut self, prefixes: &[Prefix]) -> Result<(), NetlinkError> {
        let mut prefixes: Vec<Element> =
            prefixes.iter().map(|&prefix| Element { prefix, remaining: None }).collect();
        prefixes.sort_unstable_by_key(|element| element.prefix);
        prefixes.dedup();
        match self.change(&prefixes, Way::Remove) {
            // Adding one first is refused where others overlap with it; then it is absent itself.
            Err(error) if error.is_overlap() => {
                let mut held = Vec::new();
                for set in BANS.into_iter().filter(|set| set.is_of_intervals()) {
                    elements::gather(set, self.list_set(set)?.0, &mut held);
                }
                let held: HashSet<Prefix> = held.into_iter().map(|element| element.prefix).collect();
                let is_hashed = |prefix: &Prefix| !Set::of_ban(prefix).is_of_intervals();
                prefixes.retain(|element| is_hashed(&element.prefix) || held.contains(&element.prefix));
                self.change(&prefixes, Way::Remove)
            }
            result => result,
        }
    }

    /// Puts these, and nothing else, into the allow list, at one moment. Prefixes may overlap: they are split
    /// where one stays longer than the other.
    ///
    /// # Errors
    /// The allow list is as before if [`NetlinkError::has_changed_nothing`].
    pub fn set_allowed(&mut self, allowed: &[Element]) -> Result<(), NetlinkError> {
        self.batch.begin(&mut self.socket);
        self.batch_allowed(allowed)?;
        self.batch.commit(&mut self.socket)
    }

    /// What the kernel holds of all this; empty and not intact if the table is gone.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn list(&mut self) -> Result<Held, NetlinkError> {
        let mut held = Held { is_intact: self.is_intact()?, is_settled: true, ..Held::default() };
        for &set in BANS.iter().chain(&HOLDS).chain(&ALLOWED) {
            let (keys, is_settled) = self.list_set(set)?;
            let is_of = |sets: &[&'static Set<'static>]| sets.iter().any(|own| std::ptr::eq(*own, set));
            let into = match () {
                () if is_of(&ALLOWED) => &mut held.allowed,
                () if is_of(&HOLDS) => &mut held.held,
                () => &mut held.elements,
            };
            held.foreign += elements::gather(set, keys, into);
            held.is_settled &= is_settled;
        }
        Ok(held)
    }

    /// Whether table, chains, rules and sets are there as [`Nftables::ensure`] makes them, those of the expected doors
    /// among them. About 0.1 ms, and as much again for each five doors.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn is_intact(&mut self) -> Result<bool, NetlinkError> {
        Ok(self.are_bans_intact()? && self.are_doors_intact()?)
    }

    fn are_bans_intact(&mut self) -> Result<bool, NetlinkError> {
        let table = self.table.clone();
        let is_framed = self.is_there("look up table", "", libc::NFT_MSG_GETTABLE, |out| {
            layout::write_table(out, &table);
        })? && self.is_there("look up chain", CHAIN, libc::NFT_MSG_GETCHAIN, |out| {
            layout::write_chain(out, &table, CHAIN);
        })?;
        if !is_framed {
            return Ok(false);
        }
        for set in BANS.iter().chain(&HOLDS).chain(&ALLOWED) {
            let write = |out: &mut Writer| layout::write_set(out, &table, set);
            if !self.is_there("look up set", set.name, libc::NFT_MSG_GETSET, write)? {
                return Ok(false);
            }
        }
        let (mut seen, mut are_ours) = (0, true);
        let mut ours = Writer::default();
        self.list_rules(Some(CHAIN), |attributes| {
            ours.clear();
            are_ours &= RULES.get(seen).is_some_and(|rule| {
                layout::write_rule(&mut ours, &table, rule);
                layout::is_as_sent(Attributes::new(ours.bytes()), attributes)
            });
            seen += 1;
        })?;
        Ok(are_ours && seen == RULES.len() && self.is_held_chain_intact()?)
    }

    /// Deletes the table and all that is in it; one that is not there is no fault.
    ///
    /// # Errors
    /// The table is as before if [`NetlinkError::has_changed_nothing`].
    pub fn remove_table(&mut self) -> Result<(), NetlinkError> {
        self.batch.begin(&mut self.socket);
        let table = &self.table;
        // Made first, so that deleting it succeeds in any case.
        self.batch.message(
            libc::NFT_MSG_NEWTABLE,
            libc::NLM_F_CREATE,
            Request::new("make table", ""),
            |out| {
                layout::write_table(out, table);
            },
        );
        self.batch.message(libc::NFT_MSG_DELTABLE, 0, Request::new("delete table", ""), |out| {
            out.text(TABLE, table);
        });
        self.batch.commit(&mut self.socket)
    }

    fn batch_layout(&mut self) {
        let (batch, table) = (&mut self.batch, &self.table);
        batch.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, Request::new("make table", ""), |out| {
            layout::write_table(out, table);
        });
        batch.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, Request::new("make chain", CHAIN), |out| {
            layout::write_chain(out, table, CHAIN);
        });
        for (number, set) in (1..).zip(BANS.iter().chain(&HOLDS).chain(&ALLOWED)) {
            let request = Request::new("make set", set.name);
            batch.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, request, |out| {
                layout::write_set(out, table, set);
                out.u32_be(SET_ID, number);
            });
        }
        batch.message(libc::NFT_MSG_DELRULE, 0, Request::new("delete rules of chain", CHAIN), |out| {
            out.text(TABLE, table);
            out.text(RULE_CHAIN, CHAIN);
        });
        self.batch_held_chain();
        let (batch, table) = (&mut self.batch, &self.table);
        for rule in &RULES {
            let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
            batch.message(libc::NFT_MSG_NEWRULE, flags, Request::new("make rule", rule.name()), |out| {
                layout::write_rule(out, table, rule);
            });
        }
    }

    fn batch_allowed(&mut self, allowed: &[Element]) -> Result<(), NetlinkError> {
        for set in ALLOWED {
            let (batch, table) = (&mut self.batch, &self.table);
            batch.message(libc::NFT_MSG_DELSETELEM, 0, Request::new("empty set", set.name), |out| {
                out.text(TABLE, table);
                out.text(ELEMENTS_SET, set.name);
            });
        }
        let allowed = elements::without_overlaps(allowed);
        for set in ALLOWED {
            let of_set = allowed.iter().filter(|element| Set::of_allowance(&element.prefix) == set);
            self.batch_elements(set, of_set, Way::Plain, false)?;
        }
        Ok(())
    }

    fn batch_bans(&mut self, bans: &[Element], way: Way) -> Result<(), NetlinkError> {
        if let [single] = bans {
            return self.batch_elements(Set::of_ban(&single.prefix), bans.iter(), way, true);
        }
        for set in BANS {
            let of_set = bans.iter().filter(|element| std::ptr::eq(Set::of_ban(&element.prefix), set));
            self.batch_elements(set, of_set, way, true)?;
        }
        Ok(())
    }

    fn change(&mut self, bans: &[Element], way: Way) -> Result<(), NetlinkError> {
        if way != Way::Remove {
            self.check_open_ends(bans)?;
        }
        self.change_with(|nftables| {
            nftables.batch_bans(bans, way)?;
            if way == Way::Remove { nftables.batch_holds(bans, way) } else { Ok(()) }
        })
    }

    /// One change, in as many parts as it takes.
    fn change_with(
        &mut self,
        write: impl FnOnce(&mut Nftables) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.batch.begin(&mut self.socket);
        self.has_earlier_part = false;
        write(self)?;
        self.commit_part()
    }

    /// Commits what may be one part of several; an error says if others are in force.
    fn commit_part(&mut self) -> Result<(), NetlinkError> {
        self.batch.commit(&mut self.socket).map_err(|error| match self.has_earlier_part {
            true => NetlinkError::Halfway { rest: Box::new(error) },
            false => error,
        })
    }

    /// The kernel finds overlaps by where intervals end. A prefix that reaches the end of the address space has
    /// no end there, so that for such a one (`0.0.0.0/0`, `240.0.0.0/4`) we look ourselves.
    fn check_open_ends(&mut self, bans: &[Element]) -> Result<(), NetlinkError> {
        for open in bans.iter().filter(|ban| elements::is_open_ended(&ban.prefix)) {
            let set = Set::of_ban(&open.prefix);
            if !set.is_of_intervals() {
                continue;
            }
            let mut held = Vec::new();
            let (keys, _) = self.list_set(set)?;
            elements::gather(set, keys, &mut held);
            let of_set = bans.iter().filter(|ban| std::ptr::eq(Set::of_ban(&ban.prefix), set));
            if held.iter().chain(of_set).any(|other| elements::overlap(&open.prefix, &other.prefix)) {
                return Err(NetlinkError::Overlap { request: Request::new(ADD_ELEMENTS, set.name) });
            }
        }
        Ok(())
    }

    /// Writes elements into the batch, as few messages as can be. If it may be split, what there is is sent when
    /// it is enough.
    fn batch_elements<'a>(
        &mut self,
        set: &'static Set<'static>,
        mut elements: impl Iterator<Item = &'a Element>,
        way: Way,
        may_split: bool,
    ) -> Result<(), NetlinkError> {
        let add = (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, Request::new(ADD_ELEMENTS, set.name));
        let delete = (libc::NFT_MSG_DELSETELEM, 0, Request::new("delete elements of set", set.name));
        let steps: &[_] = match way {
            Way::Plain => &[add],
            Way::Replace => &[add, delete, add],
            Way::Remove => &[add, delete],
        };
        loop {
            self.part.clear();
            self.part.extend(elements.by_ref().take(IN_ONE_MESSAGE));
            if self.part.is_empty() {
                return Ok(());
            }
            if may_split && self.batch.is_full(steps.len() << 16, self.limit) {
                self.commit_part()?;
                self.has_earlier_part = true;
                self.batch.begin(&mut self.socket);
            }
            let (table, part) = (&self.table, &self.part);
            for (index, &(message, flags, request)) in steps.iter().enumerate() {
                // Only what stays needs its time.
                let is_last = index + 1 == steps.len();
                self.batch.message(message, flags, request, |out| {
                    elements::write(out, table, set, part, is_last);
                });
            }
        }
    }

    /// Looks something up by the attributes that would make it; says whether it is there and has them all.
    fn is_there(
        &mut self,
        verb: &'static str,
        object: &'static str,
        message: i32,
        write: impl Fn(&mut Writer),
    ) -> Result<bool, NetlinkError> {
        let mut wanted = Writer::default();
        write(&mut wanted);
        let sequence = self.ask_for(message, 0, write);
        let answer = self.socket.ask(self.question.bytes(), sequence, Request::new(verb, object), |answer| {
            layout::is_as_sent(Attributes::new(wanted.bytes()), Attributes::behind(answer.body, 4))
        });
        match answer {
            Ok(is_as_sent) => Ok(is_as_sent.unwrap_or(false)),
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a question and returns its sequence number.
    fn ask_for(&mut self, message: i32, flags: i32, write: impl FnOnce(&mut Writer)) -> u32 {
        let sequence = self.socket.reserve_sequences(1);
        self.question.clear();
        let open = self.question.open_message(kind(message), flags, sequence);
        self.question.netfilter_head(FAMILY, 0);
        write(&mut self.question);
        self.question.close_message(open);
        sequence
    }

    /// Shows the attributes of each rule of a chain, or of all chains, to `visit`; none if there is no such chain.
    fn list_rules(
        &mut self,
        chain: Option<&'static str>,
        mut visit: impl FnMut(Attributes<'_>),
    ) -> Result<(), NetlinkError> {
        let table = self.table.clone();
        let sequence = self.ask_for(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, |out| {
            out.text(TABLE, &table);
            if let Some(chain) = chain {
                out.text(RULE_CHAIN, chain);
            }
        });
        let request = match chain {
            Some(chain) => Request::new("list rules of chain", chain),
            None => Request::new("list rules", ""),
        };
        // A list that was interrupted is good enough: what changed of ours raises an event, and is compared again.
        match self
            .socket
            .dump(self.question.bytes(), sequence, request, |rule| visit(Attributes::behind(rule.body, 4)))
        {
            Err(error) if error.refusal() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// The keys of a set, none if it is gone; and whether they are of one moment.
    fn list_set(&mut self, set: &'static Set<'static>) -> Result<(Vec<elements::Key>, bool), NetlinkError> {
        let mut keys = Vec::new();
        let request = Request::new("list elements of set", set.name);
        let is_settled = self.list_elements(set.name, request, &mut keys, elements::read_into)?;
        Ok((keys, is_settled))
    }

    /// Fills `into` with what `read` finds in the kernel's list of a set's elements, with nothing if the set is gone;
    /// says whether it is of one moment.
    fn list_elements<T>(
        &mut self,
        set: &str,
        request: Request,
        into: &mut Vec<T>,
        read: impl Fn(&[u8], &mut Vec<T>),
    ) -> Result<bool, NetlinkError> {
        let table = self.table.clone();
        for _ in 0..READINGS {
            into.clear();
            let sequence = self.ask_for(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP, |out| {
                out.text(TABLE, &table);
                out.text(ELEMENTS_SET, set);
            });
            let visit = |message: &Message<'_>| read(message.body, into);
            match self.socket.dump(self.question.bytes(), sequence, request, visit) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if error.refusal() == Some(libc::ENOENT) => {
                    into.clear();
                    return Ok(true);
                }
                // The kernel gives up a list of a set that was deleted or replaced meanwhile.
                Err(error) if error.refusal() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// The elements with each prefix once, the last of its times.
fn last_of_each(bans: &[Element]) -> Vec<Element> {
    let mut latest_first: Vec<Element> = bans.iter().rev().copied().collect();
    // Stable, so that the first of equals is the latest.
    latest_first.sort_by_key(|element| element.prefix);
    latest_first.dedup_by_key(|element| element.prefix);
    latest_first
}

/// What nftables takes for a name, and what is short enough for each of our buffers.
fn check_name(table: &str) -> Result<(), NetlinkError> {
    let is_name = table.starts_with(|first: char| first.is_ascii_alphabetic())
        && table.len() < 32
        && table.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_name { Ok(()) } else { Err(NetlinkError::TableName) }
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(crate) fn read_anything(body: &[u8]) {
    let attributes = Attributes::behind(body, 4);
    let mut keys = Vec::new();
    elements::read_into(body, &mut keys);
    let mut into = Vec::new();
    for set in BANS.iter().chain(&HOLDS).chain(&ALLOWED) {
        let of_family = |key: &&elements::Key| key.address.is_ipv4() == (set.width == 32);
        elements::gather(set, keys.iter().filter(of_family).copied().collect(), &mut into);
    }
    let _ = elements::without_overlaps(&into);
    let _ = counters::read(attributes).and_then(counters::of_ours);
    doors::read_anything(body);
    ruleset::read_anything(body);
    let mut ours = Writer::default();
    layout::write_rule(&mut ours, "portcullis", &RULES[0]);
    let _ = layout::is_as_sent(Attributes::new(ours.bytes()), attributes);
    let _ = layout::is_as_sent(attributes, attributes);
    let _ = monitor::is_about(body, "portcullis");
}
