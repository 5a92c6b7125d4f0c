//! What this thread is allowed to do (capabilities(7)).

use std::io;

/// A right that portcullis needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: to change the ruleset.
    NetAdmin,
    /// `CAP_NET_RAW`: to open a packet socket.
    NetRaw,
}

impl Capability {
    /// As the manual and systemd write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::NetRaw => "CAP_NET_RAW",
        }
    }

    /// Its number in `linux/capability.h`.
    fn number(self) -> u32 {
        match self {
            Capability::NetAdmin => 12,
            Capability::NetRaw => 13,
        }
    }
}

/// Whether the calling thread has `capability` in its effective set. It counts for the user namespace that owns the
/// network namespace; a process that is root in a namespace of its own has it there.
///
/// # Errors
/// Where the kernel refuses to tell, which happens only below a sandbox that filters capget(2).
pub fn has(capability: Capability) -> io::Result<bool> {
    #[repr(C)]
    struct Header {
        version: u32,
        thread: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two pieces of 32, low one first.
    const VERSION_3: u32 = 0x2008_0522;

    let mut header = Header { version: VERSION_3, thread: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both structures have the layout of `linux/capability.h`, and version 3 writes two of the second.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let number = capability.number();
    let piece = sets[usize::try_from(number / 32).expect("0 or 1")];
    Ok(piece.effective & (1 << (number % 32)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_agrees_with_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let effective = u64::from_str_radix(line.trim(), 16).unwrap();
        assert_eq!(has(Capability::NetAdmin).unwrap(), effective & 1 << 12 != 0);
        assert_eq!(has(Capability::NetRaw).unwrap(), effective & 1 << 13 != 0);
    }
}
