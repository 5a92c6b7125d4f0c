//! `RESOLVE_HOST`: who is behind an address, asked of the system's resolver (`/etc/hosts`, DNS), beside everything
//! else.
//!
//! Its owner chooses a name, so it is nothing but an ornament of a line: cleaned, never in a command, and never a
//! reason to spare anybody. Whoever floods us with addresses gets lines without names, not slow ones.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::time::Mono;

/// Lookups at once.
const THREADS: usize = 4;

/// Addresses that wait for a thread.
const QUEUE: usize = 256;

/// Answers that are kept.
const KEPT: usize = 1024;

/// How long an answer is good for.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// How long a line waits for a name.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Longest name, in characters (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its name; or the address, if it has none or there are too many questions.
    Name(String),
    /// It is being asked for.
    Later,
}

/// The names of addresses.
#[derive(Debug)]
pub struct Names {
    questions: SyncSender<(IpAddr, Instant)>,
    answers: Receiver<(IpAddr, Found)>,
    asked: HashSet<IpAddr>,
    /// Whose names have come since somebody asked for them.
    came: Vec<IpAddr>,
    known: HashMap<IpAddr, (String, Mono)>,
    /// The addresses of `known`, oldest answer first.
    oldest: VecDeque<IpAddr>,
}

/// What a thread brings back.
enum Found {
    Name(Option<String>),
    /// Nobody waited any more when its turn came.
    TooLate,
}

impl Names {
    /// Asks the system's resolver.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> io::Result<Names> {
        Names::from(system)
    }

    fn from(lookup: impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static) -> io::Result<Names> {
        let (questions, queue) = sync_channel::<(IpAddr, Instant)>(QUEUE);
        // Bounded by `asked`: at most one answer a question.
        let (tell, answers) = channel();
        let (queue, lookup) = (Arc::new(Mutex::new(queue)), Arc::new(lookup));
        for _ in 0..THREADS {
            let (queue, lookup, tell) = (Arc::clone(&queue), Arc::clone(&lookup), tell.clone());
            // It ends with the sender of the questions; a lookup under way is left to itself.
            thread::Builder::new().name("resolver".into()).spawn(move || {
                loop {
                    let question = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((address, since)) = question else { return };
                    let found = if since.elapsed() > PATIENCE {
                        Found::TooLate
                    } else {
                        Found::Name(lookup(address))
                    };
                    if tell.send((address, found)).is_err() {
                        return;
                    }
                }
            })?;
        }
        Ok(Names {
            questions,
            answers,
            asked: HashSet::new(),
            came: Vec::new(),
            known: HashMap::new(),
            oldest: VecDeque::new(),
        })
    }

    /// The name of an address, if it is known, or cannot be now.
    pub fn ask(&mut self, address: IpAddr, now: Mono) -> Answer {
        self.collect(now);
        match self.known.get(&address) {
            Some((name, since)) if now.since(*since) < KEPT_FOR => return Answer::Name(name.clone()),
            _ => {}
        }
        if self.asked.contains(&address) {
            return Answer::Later;
        }
        match self.questions.try_send((address, Instant::now())) {
            Ok(()) => {
                self.asked.insert(address);
                Answer::Later
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Answer::Name(address.to_string()),
        }
    }

    /// Takes what the threads have found; returns whose names have come since the last time.
    pub fn take_answers(&mut self, now: Mono) -> Vec<IpAddr> {
        self.collect(now);
        std::mem::take(&mut self.came)
    }

    fn collect(&mut self, now: Mono) {
        loop {
            match self.answers.try_recv() {
                Ok((address, found)) => {
                    self.asked.remove(&address);
                    if let Found::Name(name) = found {
                        self.keep(address, clean(address, name.as_deref()), now);
                        self.came.push(address);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn keep(&mut self, address: IpAddr, name: String, now: Mono) {
        if self.known.insert(address, (name, now)).is_some() {
            self.oldest.retain(|&other| other != address);
        }
        self.oldest.push_back(address);
        if self.oldest.len() > KEPT
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// What the system says.
fn system(address: IpAddr) -> Option<String> {
    dns_lookup::lookup_addr(&address).ok()
}

/// A name that does no harm in a line, a file and the scripts that read them; the address where there is none.
///
/// Letters, digits, `.`, `-` and `_` stay, all else becomes `_`. A name stands back for the address if it is longer
/// than DNS allows, if anything might read it as an address (inet_aton(3) takes `1`, `10.1` and `0x7f.1`), or if it
/// holds an address that is not this source: scripts look for addresses in lines, and 1.2 took the first it found.
#[must_use]
pub fn clean(address: IpAddr, name: Option<&str>) -> String {
    let own = address.to_string();
    let Some(name) = name.map(|name| name.strip_suffix('.').unwrap_or(name)) else { return own };
    if name.is_empty() || name.chars().count() > LONGEST {
        return own;
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let name: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    if is_number(&name) || holds_other_address(&name, &own) { own } else { name }
}

/// Whether every part is a number, so that inet_aton(3) might take the whole for an address.
fn is_number(name: &str) -> bool {
    name.split('.').all(|part| {
        let lower = part.to_ascii_lowercase();
        match lower.strip_prefix("0x") {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => lower.bytes().all(|byte| byte.is_ascii_digit()),
        }
    })
}

/// Whether four numbers joined by dots stand in it that are not the source's own address.
fn holds_other_address(name: &str, own: &str) -> bool {
    name.split(|letter: char| !(letter.is_ascii_digit() || letter == '.')).any(|run| {
        let parts: Vec<&str> = run.split('.').filter(|part| !part.is_empty()).collect();
        parts.len() > 4 || (parts.len() == 4 && parts.join(".") != own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use testbed::wait_until;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn a_name_is_an_ornament_and_does_no_harm() {
        for (address, name, shown) in [
            ("213.251.132.169", "tamilxtreme.com", "tamilxtreme.com"),
            ("192.0.2.1", "host-192-0-2-1.example.net.", "host-192-0-2-1.example.net"),
            ("192.0.2.1", "192.0.2.1.dsl.example.net", "192.0.2.1.dsl.example.net"),
            ("192.0.2.1", "a_b.example", "a_b.example"),
            // No line, no column, no terminal is reached.
            ("192.0.2.1", "a\n<29>b\x1b[2J c\u{202e}\"$(reboot)`", "a__29_b__2J_c____reboot__"),
            ("192.0.2.1", "x/10.77.0.9 Port: 1 TCP Blocked", "192.0.2.1"),
            // Somebody else's address in it: one for which a script would look.
            ("192.0.2.1", "10.77.0.1-x.evil", "192.0.2.1"),
            ("192.0.2.1", "x10.77.0.1x", "192.0.2.1"),
            ("192.0.2.1", "1.192.0.2.1.evil", "192.0.2.1"),
            ("10.77.0.1", "10.77.0.10.evil", "10.77.0.1"),
            ("10.77.0.1", "110.77.0.1.evil", "10.77.0.1"),
            ("10.77.0.1", "10.77\u{0}.0.10", "10.77_.0.10"),
            ("192.0.2.1", "10..77.0.1.evil", "192.0.2.1"),
            // Its own: nothing that the line does not say anyway.
            ("10.77.0.1", "10.77.0.1-x.evil", "10.77.0.1-x.evil"),
            ("10.77.0.1", "10.77.0.1.evil", "10.77.0.1.evil"),
            // What inet_aton(3) would take for an address.
            ("192.0.2.1", "10.77.0.1", "192.0.2.1"),
            ("192.0.2.1", "167772161", "192.0.2.1"),
            ("192.0.2.1", "0x7f.1", "192.0.2.1"),
            ("192.0.2.1", "0X7F000001", "192.0.2.1"),
            ("192.0.2.1", "127.1", "192.0.2.1"),
            ("fd77::1", "fd77::2", "fd77__2"),
            ("fd77::1", "::ffff:10.0.0.1", "fd77::1"),
            ("192.0.2.1", "", "192.0.2.1"),
            ("192.0.2.1", ".", "192.0.2.1"),
        ] {
            assert_eq!(clean(ip(address), Some(name)), shown, "{name:?}");
        }
        assert_eq!(clean(ip("fd77::1"), None), "fd77::1");
        assert_eq!(clean(ip("192.0.2.1"), Some(&"a".repeat(255))).len(), 255);
        assert_eq!(clean(ip("192.0.2.1"), Some(&"a".repeat(300))), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn whatever_dns_says_a_name_is_plain(address in any::<IpAddr>(), name in ".{0,300}") {
            let shown = clean(address, Some(&name));
            if shown != address.to_string() {
                prop_assert!(shown.len() <= LONGEST);
                prop_assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)));
                prop_assert!(shown.parse::<IpAddr>().is_err());
            }
        }
    }

    fn until_known(names: &mut Names, address: IpAddr, now: Mono) -> String {
        wait_until(Duration::from_secs(10), "a name", || match names.ask(address, now) {
            Answer::Name(name) => Some(name),
            Answer::Later => None,
        })
    }

    #[test]
    fn an_answer_is_kept_for_five_minutes() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let mut names =
            Names::from(move |_| Some(format!("name{}", counter.fetch_add(1, Ordering::SeqCst)))).unwrap();
        let address = ip("192.0.2.1");
        assert_eq!(names.ask(address, at(0)), Answer::Later);
        assert_eq!(until_known(&mut names, address, at(0)), "name0");
        assert_eq!(names.ask(address, at(299)), Answer::Name("name0".into()));
        assert_eq!(names.ask(address, at(300)), Answer::Later);
        assert_eq!(until_known(&mut names, address, at(300)), "name1");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_flood_gets_lines_without_names_and_bounded_memory() {
        let (go, stop) = channel::<()>();
        let stop = Mutex::new(stop);
        let mut names = Names::from(move |address| {
            // Blocks until the test lets go.
            let _ = stop.lock().unwrap().recv();
            Some(format!("host{}.example", address.to_string().len()))
        })
        .unwrap();
        let mut without = 0;
        for number in 0..5000u32 {
            if names.ask(IpAddr::from(number.to_be_bytes()), at(0)) != Answer::Later {
                without += 1;
            }
        }
        assert!(without >= 5000 - QUEUE - THREADS, "{without}");
        assert!(names.asked.len() <= QUEUE + THREADS);
        drop(go);
        wait_until(Duration::from_secs(10), "all answers", || {
            names.take_answers(at(1));
            names.asked.is_empty().then_some(())
        });
        for number in 0..5000 {
            names.keep(IpAddr::from((number as u32).to_be_bytes()), "a".into(), at(2));
        }
        assert_eq!((names.known.len(), names.oldest.len()), (KEPT, KEPT));
    }

    #[test]
    fn the_system_knows_its_own_address() {
        // /etc/hosts of every machine.
        let name = clean(ip("127.0.0.1"), system(ip("127.0.0.1")).as_deref());
        assert!(name.starts_with("localhost") || name == "127.0.0.1", "{name}");
    }
}
