//! What commands and files have done about a ban: the memory that keeps it from being done twice, and by which it is
//! undone.

/// Beside the kernel's own sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The line in `hosts.deny`.
    pub hosts_deny: Option<String>,
    /// The command that shuts the source out, as it was run.
    pub route: Option<String>,
    /// The kernel's name of the boot in which that was; empty where no command was run.
    pub boot: String,
    /// Whether the command that only tells has been run.
    pub has_run: bool,
}

impl Effects {
    /// Whether nothing has been done.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Effects::default()
    }
}
