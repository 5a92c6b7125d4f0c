//! What can go wrong between us and the kernel.

use std::fmt;
use std::io;

use portcullis_core::net::Prefix;

/// What was asked of the kernel, so that an error can name the message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was to be done: `add elements to set`.
    pub verb: &'static str,
    /// To what: `banned4`; may be empty.
    pub object: &'static str,
}

impl Request {
    /// A request about one named thing.
    pub(crate) const fn new(verb: &'static str, object: &'static str) -> Request {
        Request { verb, object }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object {
            "" => f.write_str(self.verb),
            object => write!(f, "{} {object}", self.verb),
        }
    }
}

/// Why a question or an order to the kernel came to nothing.
#[derive(Debug)]
pub enum NetlinkError {
    /// A netlink socket could not be opened or set up; the part of the kernel that it was meant for.
    Open {
        /// `nftables`, `sock_diag`, `route`.
        family: &'static str,
        /// What the system call said.
        source: io::Error,
    },
    /// The request did not leave us: nothing has changed.
    Send {
        /// What was asked.
        request: Request,
        /// What the system call said.
        source: io::Error,
    },
    /// The answer could not be read: whether the request was carried out is not known; compare.
    Receive {
        /// What was asked.
        request: Request,
        /// What the system call said.
        source: io::Error,
    },
    /// The kernel refused this message. The batch that it was part of has changed nothing.
    Refused {
        /// The message that failed first.
        request: Request,
        /// The kernel's error number.
        source: io::Error,
    },
    /// A prefix shares addresses with another one in the same interval set, which nftables does not allow.
    /// The batch has changed nothing.
    Overlap {
        /// The message that failed first; its object is the set.
        request: Request,
    },
    /// The kernel's answer was lost (its queue to us was full) or never given: whether the request was carried
    /// out is not known; compare.
    AnswerLost {
        /// What was asked.
        request: Request,
    },
    /// A change that is too large for one batch failed after its first parts: those are in force. Compare.
    Halfway {
        /// What happened to the part that failed; those behind it were not tried.
        rest: Box<NetlinkError>,
    },
    /// This kernel was built without what the request needs. Nothing has changed.
    Unsupported {
        /// What was asked.
        request: Request,
        /// The option that is missing: `CONFIG_…`.
        option: &'static str,
    },
    /// Only single addresses and IPv6 /64 can be held; this is neither. Nothing has changed.
    NotHeld {
        /// Whom it was about.
        prefix: Prefix,
    },
    /// This is no name that nftables takes for a table: 1 to 31 letters, digits, `_`, `-` or `.`, a letter first.
    TableName,
}

impl NetlinkError {
    /// Whether the kernel wants more rights (CAP_NET_ADMIN) for what was asked.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        self.system_error().is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether what the request was about is not there (a table that somebody deleted).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.refusal() == Some(libc::ENOENT)
    }

    /// Whether the kernel may lack a part that was asked for: it answers so where an expression of a rule is not built in
    /// and no module brings it.
    #[must_use]
    pub fn may_lack_a_part(&self) -> bool {
        matches!(self.refusal(), Some(libc::ENOENT | libc::EOPNOTSUPP))
    }

    /// Whether it is sure that nothing has changed. Otherwise compare with what the kernel holds.
    #[must_use]
    pub fn has_changed_nothing(&self) -> bool {
        !matches!(
            self,
            NetlinkError::Receive { .. } | NetlinkError::AnswerLost { .. } | NetlinkError::Halfway { .. }
        )
    }

    /// Whether a prefix overlaps another one, in the part that failed.
    #[must_use]
    pub fn is_overlap(&self) -> bool {
        match self {
            NetlinkError::Halfway { rest } => rest.is_overlap(),
            error => matches!(error, NetlinkError::Overlap { .. }),
        }
    }

    /// The error number that the kernel gave as its answer, if this is a refusal.
    pub(crate) fn refusal(&self) -> Option<i32> {
        match self {
            NetlinkError::Refused { source, .. } => source.raw_os_error(),
            NetlinkError::Halfway { rest } => rest.refusal(),
            _ => None,
        }
    }

    fn system_error(&self) -> Option<&io::Error> {
        match self {
            NetlinkError::Open { source, .. }
            | NetlinkError::Send { source, .. }
            | NetlinkError::Receive { source, .. }
            | NetlinkError::Refused { source, .. } => Some(source),
            NetlinkError::Halfway { rest } => rest.system_error(),
            NetlinkError::Overlap { .. }
            | NetlinkError::AnswerLost { .. }
            | NetlinkError::Unsupported { .. }
            | NetlinkError::NotHeld { .. }
            | NetlinkError::TableName => None,
        }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetlinkError::Open { family, .. } => write!(f, "cannot open a netlink socket to {family}"),
            NetlinkError::Send { request, .. } => write!(f, "cannot send to the kernel: {request}"),
            NetlinkError::Receive { request, .. } => {
                write!(f, "cannot read the kernel's answer to: {request}")
            }
            NetlinkError::Refused { request, .. } => {
                write!(f, "the kernel refused: {request}; nothing has changed")
            }
            NetlinkError::Overlap { request } => {
                write!(f, "a prefix overlaps one that is already there: {request}; nothing has changed")
            }
            NetlinkError::AnswerLost { request } => {
                write!(f, "the kernel's answer was lost: {request}; it may have been done or not")
            }
            NetlinkError::Halfway { .. } => {
                write!(f, "a part of a large change is in force, the rest failed")
            }
            NetlinkError::Unsupported { request, option } => {
                write!(f, "this kernel cannot do it: {request}; it was built without {option}")
            }
            NetlinkError::NotHeld { prefix } => {
                write!(f, "{prefix} can be banned and not held: only single addresses and IPv6 /64 can")
            }
            NetlinkError::TableName => write!(
                f,
                "not a name for a table: write 1 to 31 letters, digits, '_', '-' or '.', a letter first"
            ),
        }
    }
}

impl std::error::Error for NetlinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetlinkError::Halfway { rest } => Some(rest.as_ref()),
            error => error.system_error().map(|source| source as _),
        }
    }
}
