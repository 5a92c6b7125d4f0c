//! Friends that are known by a name: looked up beside everything else, by the system's resolver.
//!
//! Whoever rules over a name's zone says who is never blocked here; so a name leads to at most [`ADDRESSES`] single
//! addresses, never to a network, and what it led to is forgotten [`KEPT`] after it has led nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::HOST_NAMES;

/// Addresses of one name.
pub const ADDRESSES: usize = 16;

/// Each name is looked up this often.
const EVERY: Duration = Duration::from_secs(300);

/// One that led nowhere, this often: at boot the resolver may be a moment late.
const AGAIN: Duration = Duration::from_secs(15);

/// How long the last answer holds.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a name led to, and when.
#[derive(Clone, Debug)]
struct Known {
    addresses: BTreeSet<IpAddr>,
    /// When it last led somewhere.
    since: Instant,
}

type Table = Arc<Mutex<BTreeMap<String, Known>>>;

/// The names.
#[derive(Debug)]
pub struct Names {
    known: Table,
    wanted: Sender<Vec<String>>,
    /// Told when a name has come to lead elsewhere.
    pub changed: Arc<Notify>,
}

impl Names {
    /// Begins to look names up; none at first. The thread ends with this value.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn begin() -> std::io::Result<Names> {
        Names::with(|name| {
            let found = (name, 0).to_socket_addrs().ok()?;
            Some(found.map(|address| address.ip().to_canonical()).collect())
        })
    }

    fn with(look_up: impl Fn(&str) -> Option<Vec<IpAddr>> + Send + 'static) -> std::io::Result<Names> {
        let (wanted, orders) = channel::<Vec<String>>();
        let (known, changed) = (Table::default(), Arc::new(Notify::new()));
        let (table, tell) = (Arc::clone(&known), Arc::clone(&changed));
        thread::Builder::new().name("names".into()).spawn(move || {
            let mut names: Vec<String> = Vec::new();
            loop {
                let mut has_changed = false;
                for name in &names {
                    has_changed |= learn(&table, name, look_up(name), Instant::now());
                }
                if has_changed {
                    tell.notify_one();
                }
                let leads_nowhere = names.len() > lock(&table).len();
                let wait = match (names.is_empty(), leads_nowhere) {
                    (true, _) => Duration::MAX,
                    (_, true) => AGAIN,
                    (_, false) => EVERY,
                };
                match orders.recv_timeout(wait) {
                    Ok(wanted) => {
                        lock(&table).retain(|name, _| wanted.contains(name));
                        names = wanted;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Names { known, wanted, changed })
    }

    /// These are to be looked up from now on, at most [`HOST_NAMES`]; what others led to is forgotten.
    pub fn want(&self, mut names: Vec<String>) {
        names.retain(|name| name.parse::<IpAddr>().is_err());
        names.truncate(HOST_NAMES);
        // The thread ends only with us.
        let _is_running = self.wanted.send(names);
    }

    /// What these names, or addresses, lead to by now.
    #[must_use]
    pub fn addresses(&self, names: &[String]) -> Vec<IpAddr> {
        let known = lock(&self.known);
        let lead = |name: &String| match name.parse::<IpAddr>() {
            Ok(address) => BTreeSet::from([address.to_canonical()]),
            Err(_) => known.get(name).map(|own| own.addresses.clone()).unwrap_or_default(),
        };
        names.iter().flat_map(lead).collect()
    }
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters an answer; whether the name leads elsewhere now. Of too many addresses the lowest are kept, so that the order
/// of the answer changes nothing.
fn learn(table: &Table, name: &str, answer: Option<Vec<IpAddr>>, now: Instant) -> bool {
    let mut table = lock(table);
    let answer: BTreeSet<IpAddr> = answer.unwrap_or_default().into_iter().collect();
    if answer.is_empty() {
        let is_old = table.get(name).is_some_and(|known| now.duration_since(known.since) >= KEPT);
        return is_old && table.remove(name).is_some();
    }
    let addresses: BTreeSet<IpAddr> = answer.into_iter().take(ADDRESSES).collect();
    let known = Known { addresses: addresses.clone(), since: now };
    table.insert(name.to_owned(), known).is_none_or(|before| before.addresses != addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [203, 0, 113, number].into()
    }

    #[test]
    fn a_name_leads_to_no_more_than_sixteen_addresses_in_whatever_order_they_come() {
        let table = Table::default();
        let all: Vec<IpAddr> = (0..100).map(address).collect();
        assert!(learn(&table, "a", Some(all.clone()), Instant::now()));
        assert_eq!(lock(&table)["a"].addresses.len(), ADDRESSES);
        assert!(!learn(&table, "a", Some(all.into_iter().rev().collect()), Instant::now()));
    }

    #[test]
    fn the_last_answer_holds_for_a_day_after_a_name_leads_nowhere() {
        let (table, begin) = (Table::default(), Instant::now());
        assert!(learn(&table, "a", Some(vec![address(1)]), begin));
        assert!(!learn(&table, "a", None, begin + KEPT - Duration::from_secs(1)));
        assert!(!lock(&table).is_empty());
        assert!(learn(&table, "a", Some(Vec::new()), begin + KEPT));
        assert!(lock(&table).is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_name_protects_as_soon_as_it_is_known_and_no_longer_than_it_is_wanted() {
        let names = Names::with(|name| (name == "home").then(|| vec![address(7)])).unwrap();
        names.want(vec!["home".into(), "nowhere".into()]);
        names.changed.notified().await;
        let wanted = ["home".to_owned(), "nowhere".to_owned(), "192.0.2.1".to_owned()];
        assert_eq!(names.addresses(&wanted), [address(7), "192.0.2.1".parse().unwrap()]);
    }
}
