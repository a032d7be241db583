//! Why a query has no answer, as the kernel and errno(3) number it.

use core::fmt;

/// An errno, positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// A name longer than any file's.
    pub const NAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
    /// Not permitted as an argument.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// No such file; of a unit: no machine runs in it.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// No such process.
    pub const SRCH: Self = Self(libc::ESRCH);
    /// No such machine.
    pub const NXIO: Self = Self(libc::ENXIO);
    /// The machine has no such datum, or the process no unit.
    pub const NODATA: Self = Self(libc::ENODATA);
    /// A record lacks what every record has.
    pub const IO: Self = Self(libc::EIO);
    /// A record is damaged.
    pub const BADMSG: Self = Self(libc::EBADMSG);
    /// A value cannot be what its key says.
    pub const UCLEAN: Self = Self(libc::EUCLEAN);
    /// A number is too large for its type.
    pub const RANGE: Self = Self(libc::ERANGE);
    /// Memory is short.
    pub const NOMEM: Self = Self(libc::ENOMEM);
    /// No descriptor, or none of the right kind.
    pub const BADF: Self = Self(libc::EBADF);
    /// Neither a file nor a directory nor a link.
    pub const BADFD: Self = Self(libc::EBADFD);
    /// A directory stands where a file should.
    pub const ISDIR: Self = Self(libc::EISDIR);
    /// Larger than any record.
    pub const TOOBIG: Self = Self(libc::E2BIG);
    /// Outside of what this process's namespace shows.
    pub const UNATCH: Self = Self(libc::EUNATCH);
    /// A descriptor of another kind.
    pub const NOTTY: Self = Self(libc::ENOTTY);
    /// The process is of another PID namespace.
    pub const REMOTE: Self = Self(libc::EREMOTE);
    /// The machine has no network of its own.
    pub const NONET: Self = Self(libc::ENONET);
    /// What is needed is not there: /proc, before Linux 6.13.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// More than one machine has it.
    pub const NOTUNIQ: Self = Self(libc::ENOTUNIQ);
    /// The object was made by this process's parent.
    pub const CHILD: Self = Self(libc::ECHILD);
    /// The deadline is over.
    pub const TIMEDOUT: Self = Self(libc::ETIMEDOUT);
    /// A signal came.
    pub const INTR: Self = Self(libc::EINTR);
    /// What was watched is there no longer.
    pub const STALE: Self = Self(libc::ESTALE);
    /// Nothing at the moment.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// An address family that is neither IPv4 nor IPv6.
    pub const AFNOSUPPORT: Self = Self(libc::EAFNOSUPPORT);

    /// Whether descriptors or memory are short, which says nothing about what was asked.
    pub(crate) const fn is_shortage(self) -> bool {
        matches!(self.0, libc::ENOMEM | libc::EMFILE | libc::ENFILE)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

impl core::error::Error for Errno {}

#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}
