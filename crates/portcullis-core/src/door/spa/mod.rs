//! fwknop's single-packet authorization: one datagram that says who lets whom in where and for how long, so that the
//! clients which people have (the command line's, Android's) open our doors.
//!
//! The engine gives every datagram that may be one to [`Spa::receive`]. The order is: the text itself
//! (`envelope::check`), HMAC, cipher, fields, replay and age, then what the user may. Nobody without a key gets
//! further than the HMAC, and everything behind it is bounded too.
//!
//! **Cost.** A junk packet is looked at once (8 ns for random bytes), and if it has the shape of a real one, costs an
//! HMAC over at most 409 characters for each user: with [`USERS_MAXIMUM`] users and SHA-256 in the processor 14 µs, with
//! SHA-512 23 µs, with SHA3-512 45 µs; for one user 0.6 µs. Users without an HMAC cost a derived key and up to 18 blocks
//! of AES instead, 2 to 4 µs each (`benches/spa.rs`, on a shared virtual machine; SHA-256 without help of the processor
//! is about as SHA-512).
//!
//! **Differences from fwknopd 2.6.10, all on purpose** (`tests/ancestors/fwknop-differences.toml` has their cases): an HMAC is required; `=` and stray bits at the end are refused, and what is remembered is what a packet
//! says, so that no packet has a second form; packets that are too old are not remembered, since they are too old
//! for ever; the memory of what was seen cannot be switched off; a private address must be the packet's own; an
//! address must be one from which the user may come; IPv6 works, as [`message::Guest`] says; GnuPG, forwardings and
//! redirections are refused by name.
//!
//! **After a crash.** What was accepted may not have reached the disk. So the caller keeps a mark on the disk that lies
//! ahead of the clock, and on the next start refuses everything made before it ([`Spa::refuse_before`]). A client
//! whose clock goes ahead can be beyond that mark: then [`Accepted::record_first`] says that its entry must be on the
//! disk before the door opens.

pub mod access;
#[cfg(feature = "build")]
pub mod build;
pub mod cipher;
pub mod digest;
pub mod envelope;
pub mod key;
pub mod message;
pub mod refusal;
pub mod replay;

use std::net::IpAddr;
use std::time::Duration;

use access::{Granted, User, UserFault};
use message::Message;
use refusal::{Refusal, Refusals};
use replay::{Entry, Seen};

use crate::time::Wall;

/// fwknop's port.
pub const PORT: u16 = 62_201;
/// How far the clocks of both sides may be apart: fwknopd's default.
pub const WINDOW: Duration = Duration::from_secs(120);
/// Users of one host, since a junk packet costs an HMAC for each.
pub const USERS_MAXIMUM: usize = 16;

/// Why there can be no such set of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupFault {
    /// More than [`USERS_MAXIMUM`].
    TooManyUsers,
    /// The user at this place is not as it must be.
    User(usize, UserFault),
}

/// The receiving side: users, and what was seen of them.
pub struct Spa {
    users: Vec<User>,
    seen: Seen,
    refusals: Refusals,
    covered: Wall,
}

/// A packet that was genuine, new, and asked for what its user may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The place of the user in the list given to [`Spa::new`].
    pub user: usize,
    /// What it is good for.
    pub granted: Granted,
    /// How many seconds the sender's clock goes ahead of ours; negative if behind. The way here is in it.
    pub ahead: i64,
    /// What to remember of it.
    pub entry: Entry,
    /// Whether the entry must be on the disk before anything is opened, since a start after a crash would not refuse
    /// the packet by its time alone.
    pub record_first: bool,
}

/// A packet that opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// Whose it was, if a key fitted.
    pub user: Option<usize>,
    /// How many seconds the sender's clock goes ahead of ours, if the packet could be read.
    pub ahead: Option<i64>,
}

impl Spa {
    /// For these users, in the order in which their keys are tried; the first whose keys fit is the sender. `window`
    /// is how far the clocks may be apart, usually [`WINDOW`].
    ///
    /// # Errors
    /// Everything that is wrong with the users.
    pub fn new(users: Vec<User>, window: Duration) -> Result<Spa, Vec<SetupFault>> {
        let mut faults: Vec<SetupFault> = Vec::new();
        if users.len() > USERS_MAXIMUM {
            faults.push(SetupFault::TooManyUsers);
        }
        for (place, user) in users.iter().enumerate() {
            faults.extend(user.faults().into_iter().map(|fault| SetupFault::User(place, fault)));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let seen = Seen::new(window, users.len());
        Ok(Spa { users, seen, refusals: Refusals::default(), covered: Wall::default() })
    }

    /// Hears one datagram's payload.
    ///
    /// # Errors
    /// It opens nothing, and this is why. Also counted.
    pub fn receive(&mut self, now: Wall, source: IpAddr, payload: &[u8]) -> Result<Accepted, Denied> {
        let result = self.judge(now, source, payload);
        if let Err(denied) = &result {
            self.refusals.add(denied.refusal);
        }
        result
    }

    /// Refuses from now on what was made before `floor`. It never sinks. To be called on each start with the mark
    /// that the last run left, or the time of the start if that is later.
    pub fn refuse_before(&mut self, floor: Wall) {
        self.seen.raise_floor(floor);
    }

    /// Says that the mark on the disk is `mark` by now: whatever was made before it will be refused on the next start.
    pub fn covered_until(&mut self, mark: Wall) {
        self.covered = mark;
    }

    /// Gives back what the store kept of the last run, or what the former configuration had seen.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.seen.restore(entries);
    }

    /// Everything that is remembered, the oldest first: at most 512 entries a user.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.seen.entries()
    }

    /// What has been added since the last call, for the store.
    #[must_use]
    pub fn take_unsaved(&mut self) -> Vec<Entry> {
        self.seen.take_unsaved()
    }

    /// What was made before this is refused.
    #[must_use]
    pub fn floor(&self) -> Wall {
        self.seen.floor()
    }

    /// How many packets are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// What was refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The users, in their order.
    #[must_use]
    pub fn users(&self) -> &[User] {
        &self.users
    }

    fn judge(&mut self, now: Wall, source: IpAddr, payload: &[u8]) -> Result<Accepted, Denied> {
        let stranger = |refusal| Denied { refusal, user: None, ahead: None };
        envelope::check(payload).map_err(stranger)?;
        let (user, message) = self.open(source, payload)?;
        let clock = i64::try_from(now.0.as_secs()).unwrap_or(i64::MAX);
        let ahead = i64::try_from(message.time).unwrap_or(i64::MAX).saturating_sub(clock);
        let denied = |refusal| Denied { refusal, user: Some(user), ahead: Some(ahead) };
        let entry = Entry::of(&message).map_err(denied)?;
        self.seen.admit(now, user, entry).map_err(denied)?;
        // Remembered before it is asked what the user may: a later configuration may allow more.
        let granted = self.users[user].grant(now, source, &message).map_err(denied)?;
        let record_first = Wall(Duration::from_secs(message.time)) >= self.covered;
        Ok(Accepted { user, granted, ahead, entry, record_first })
    }

    /// The first user whose keys open the packet; otherwise the reason that came nearest to opening it.
    fn open(&self, source: IpAddr, payload: &[u8]) -> Result<(usize, Message), Denied> {
        let mut nearest = Denied { refusal: Refusal::UnknownSender, user: None, ahead: None };
        let mut is_tried = false;
        for (place, user) in self.users.iter().enumerate() {
            if !user.may_send_from(source) {
                continue;
            }
            match envelope::open(payload, &user.keys) {
                Ok(message) => return Ok((place, message)),
                Err(refusal) => {
                    // Behind a right HMAC it is this user's packet, whatever is wrong with it.
                    let is_known = refusal > Refusal::BadHmac && user.keys.hmac().is_some();
                    if !is_tried || (is_known, refusal) > (nearest.user.is_some(), nearest.refusal) {
                        nearest = Denied { refusal, user: is_known.then_some(place), ahead: None };
                    }
                    is_tried = true;
                }
            }
        }
        Err(nearest)
    }
}
