//! How the fast path waits: on the ring, on a [`Waker`] that other threads hold, and on whatever else it has open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::time::Mono;

use crate::clock;

/// Ends the wait of the [`Poller`] it belongs to; may be called from any thread, any number of times.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Ends the wait that goes on, or else the next one. Several calls before the waiter comes count as one.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the descriptor is open as long as `self` lives, and eight bytes are read from `one`.
        let written = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // The only failure that can come is EAGAIN: the counter is full, so the waiter is woken anyhow.
        debug_assert!(written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
    }
}

/// Waits for descriptors and for its [`Waker`].
#[derive(Debug)]
pub struct Poller {
    event: Arc<OwnedFd>,
    entries: Vec<libc::pollfd>,
}

impl Poller {
    /// A poller with its own eventfd.
    ///
    /// # Errors
    /// Where the process or the system has no descriptor left.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: no pointers are passed.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: eventfd has just returned this descriptor, nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        Ok(Poller { event: Arc::new(event), entries: Vec::new() })
    }

    /// A handle that ends the waits of this poller.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.event))
    }

    /// Waits until one of `descriptors` can be read or has failed, the waker was called, or `timeout` is over
    /// (`None`: without end). A signal ends the wait too, with nothing ready: look at the clock and come again.
    ///
    /// # Errors
    /// Where the kernel has no memory for the table (ENOMEM), or more descriptors are given than the process may have.
    pub fn wait(
        &mut self,
        descriptors: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> io::Result<Readiness<'_>> {
        let entry =
            |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        self.entries.clear();
        self.entries.push(entry(self.event.as_fd()));
        self.entries.extend(descriptors.iter().map(|descriptor| entry(*descriptor)));
        let timeout = timeout.map(|span| libc::timespec {
            tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: span.subsec_nanos().into(),
        });
        let time = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = libc::nfds_t::try_from(self.entries.len()).expect("fewer than the address space");
        // SAFETY: `entries` holds `count` entries and `time` is null or points to a timespec that lives on; the
        // descriptors are borrowed until the call is over; a null signal mask leaves the mask as it is.
        let result = unsafe { libc::ppoll(self.entries.as_mut_ptr(), count, time, std::ptr::null()) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.entries.iter_mut().for_each(|entry| entry.revents = 0);
        }
        let is_woken = self.entries[0].revents != 0;
        if is_woken {
            self.forget_calls();
        }
        Ok(Readiness { is_woken, entries: &self.entries[1..] })
    }

    fn forget_calls(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the descriptor is open and eight bytes are written to `count`.
        let read = unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        debug_assert_eq!(read, 8, "it was readable, and only this poller reads it");
    }
}

/// What a wait ended with.
#[derive(Debug)]
pub struct Readiness<'a> {
    is_woken: bool,
    entries: &'a [libc::pollfd],
}

impl Readiness<'_> {
    /// Whether the [`Waker`] was called since the last wait.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.is_woken
    }

    /// Whether the descriptor at `index` of those waited for can be read, or has an error or an end to tell.
    ///
    /// # Panics
    /// If no such descriptor was given.
    #[must_use]
    pub fn is_ready(&self, index: usize) -> bool {
        self.entries[index].revents != 0
    }
}

/// When to wait for the next packet, and when to let packets gather.
///
/// A wake-up is what makes a block fast while it is quiet, and costs about 3 µs of CPU a packet in a flood; with naps it
/// is a quarter of that, and less the faster they come (`docs/decisions/0002-packet-ring.md`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    is_busy: bool,
    /// When the present stretch of [`STRETCH`] began.
    began: Mono,
    /// Frames drained in it.
    frames: usize,
}

/// What to do after a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Wait for the ring and everything else.
    UntilReady,
    /// Wait this long for everything but the ring, then drain it again.
    Nap(Duration),
}

/// So many frames within [`STRETCH`] are a flood, whether one drain gave them or many: while another CPU sends, a
/// reader that is woken for each packet keeps up and never finds more than a few. Six times what the default
/// trigger needs, so that a scanner is judged before the first nap.
const FLOOD: usize = 32;

/// One millisecond: with [`FLOOD`] a rate of 32,000 a second.
const STRETCH: Duration = Duration::from_millis(1);

/// A nap costs about 20 µs of CPU, so this bounds what a flood costs for waking at a tenth of a CPU; at a million
/// packets a second 200 of them gather. The kernel's timer adds about 50 µs of slack.
const NAP: Duration = Duration::from_micros(200);

impl Pace {
    /// What to do after a drain that gave `frames`.
    #[must_use]
    pub fn after_drain(&mut self, frames: usize) -> Pause {
        self.after_drain_at(frames, clock::now().mono)
    }

    fn after_drain_at(&mut self, frames: usize, now: Mono) -> Pause {
        if now.since(self.began) >= STRETCH {
            (self.began, self.frames) = (now, 0);
        }
        self.frames += frames;
        // It takes an empty drain to end a flood: at a steady rate just below the mark it would else go to and fro.
        self.is_busy = self.frames >= FLOOD || (self.is_busy && frames > 0);
        if self.is_busy { Pause::Nap(NAP) } else { Pause::UntilReady }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn a_call_before_the_wait_ends_it_and_only_once() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker();
        waker.wake();
        waker.wake();
        assert!(poller.wait(&[], LONG).unwrap().is_woken());
        assert!(!poller.wait(&[], Some(Duration::ZERO)).unwrap().is_woken());
    }

    #[test]
    fn a_call_from_another_thread_ends_the_wait() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker();
        let caller = std::thread::spawn(move || waker.wake());
        assert!(poller.wait(&[], None).unwrap().is_woken());
        caller.join().unwrap();
    }

    #[test]
    fn the_descriptor_with_something_to_read_is_named() {
        let mut poller = Poller::new().unwrap();
        let (quiet, _other) = UnixStream::pair().unwrap();
        let (ready, mut sender) = UnixStream::pair().unwrap();
        sender.write_all(b"x").unwrap();
        let readiness = poller.wait(&[quiet.as_fd(), ready.as_fd()], LONG).unwrap();
        assert_eq!(
            [readiness.is_ready(0), readiness.is_ready(1), readiness.is_woken()],
            [false, true, false]
        );
    }

    #[test]
    fn an_end_of_file_counts_as_ready() {
        let mut poller = Poller::new().unwrap();
        let (stream, other) = UnixStream::pair().unwrap();
        drop(other);
        assert!(poller.wait(&[stream.as_fd()], LONG).unwrap().is_ready(0));
    }

    #[test]
    fn naps_last_from_the_flood_to_an_empty_drain() {
        let mut pace = Pace::default();
        let mut is_nap = |(frames, microseconds)| {
            let now = Mono(Duration::from_secs(9) + Duration::from_micros(microseconds));
            pace.after_drain_at(frames, now) != Pause::UntilReady
        };
        let drains = [(31, 0), (1, 500), (5, 1100), (1, 2100), (0, 3200), (20, 3300), (31, 4300), (32, 6000)];
        let expected = [false, true, true, true, false, false, false, true];
        assert_eq!(drains.map(&mut is_nap), expected);
    }

    #[test]
    fn single_packets_in_quick_succession_are_a_flood_too() {
        let mut pace = Pace::default();
        let naps = (0..100u64).filter(|index| {
            let now = Mono(Duration::from_secs(9) + Duration::from_micros(index * 5));
            pace.after_drain_at(1, now) != Pause::UntilReady
        });
        assert_eq!(naps.count(), 100 - 31);
    }
}
