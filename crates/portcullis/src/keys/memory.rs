//! Secrets and what the kernel may do with our memory.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps this process out of core dumps, whoever receives them, and from being looked into by other processes of the
/// same user (prctl(2), `PR_SET_DUMPABLE`; ptrace(2)). To be called before the first secret is read.
///
/// A limit of 0 on the size of dumps would not do: the kernel does not ask it where dumps go to a program, as with
/// systemd-coredump (core(5), "Piping core dumps to a program"). Commands that are started are not concerned: execve(2) sets
/// it back. Not kept out: swap space, and a machine's memory image on hibernation.
///
/// # Errors
/// The kernel refuses; secrets should not be read then.
pub fn keep_out_of_dumps() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn afterwards_no_dump_is_made() {
        super::keep_out_of_dumps().unwrap();
        let behavior = rustix::process::dumpable_behavior().unwrap();
        assert!(matches!(behavior, rustix::process::DumpableBehavior::NotDumpable));
        // The other tests of this process need what belongs to it in /proc.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
    }
}
