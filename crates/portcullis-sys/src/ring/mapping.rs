//! The shared memory and its one rule: a slot belongs to whoever its status word names.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The mapped ring.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    size: usize,
    slot_size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached only through this owner.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the receive ring of `socket`, which has `size` bytes in slots of `slot_size` that follow each other without
    /// a gap.
    pub(super) fn of_ring(socket: impl AsFd, size: usize, slot_size: usize) -> io::Result<Mapping> {
        assert!(size.is_multiple_of(slot_size), "slots fill the ring");
        assert!(slot_size.is_multiple_of(libc::TPACKET_ALIGNMENT), "every slot's header is aligned");
        assert!(slot_size >= 128, "header and address fit");
        // SAFETY: a new mapping at an address of the kernel's choosing touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap never gives address 0 unasked");
        Ok(Mapping { start, size, slot_size })
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn slots(&self) -> usize {
        self.size / self.slot_size
    }

    /// The slot at `index` if the kernel has finished it. At most one is lent at a time, and it goes back to the
    /// kernel when dropped.
    pub(super) fn filled_slot(&mut self, index: usize) -> Option<Slot<'_>> {
        assert!(index < self.slots(), "slots are counted from 0");
        // SAFETY: the index was checked, so the slot lies within the mapping.
        let start = unsafe { self.start.add(index * self.slot_size) };
        // SAFETY: each slot begins with its status word (tpacket2_hdr), aligned to 16 by the check in `of_ring`; the
        // kernel and we only reach it by atomic operations while it isn't known to be ours.
        let status = unsafe { AtomicU32::from_ptr(start.cast().as_ptr()) };
        // Acquire: what the kernel wrote before it gave us the slot is seen after this.
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        Some(Slot { start, size: self.slot_size, status })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave; every `Slot` borrows the mapping, so none is left.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
        debug_assert_eq!(result, 0, "it was mapped");
    }
}

/// A slot that is ours until it is dropped.
pub(super) struct Slot<'a> {
    start: NonNull<u8>,
    size: usize,
    status: &'a AtomicU32,
}

impl Slot<'_> {
    pub(super) fn header(&self) -> libc::tpacket2_hdr {
        // SAFETY: the slot begins with this header, aligned; it is ours, so nobody writes to it.
        unsafe { self.start.cast::<libc::tpacket2_hdr>().read() }
    }

    /// The link address at `offset`.
    pub(super) fn address(&self, offset: usize) -> libc::sockaddr_ll {
        assert!(offset + size_of::<libc::sockaddr_ll>() <= self.size, "within the slot");
        // SAFETY: within the slot, which is ours; any bytes are a valid sockaddr_ll; no alignment is asked for.
        unsafe { self.start.add(offset).cast::<libc::sockaddr_ll>().read_unaligned() }
    }

    /// The whole slot.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `size` bytes of the mapping, which outlives the slot; nobody writes to them while it is ours, and
        // we give it back only in `drop`, when this borrow is over.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // Release: everything was read before the kernel may write here again.
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}
