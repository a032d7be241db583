//! Why a query has no answer, as the kernel and errno(3) number it.

use core::ffi::CStr;
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
    /// Not enough room for the answer.
    pub const NOBUFS: Self = Self(libc::ENOBUFS);

    /// Whether descriptors or memory are short, which says nothing about what was asked.
    pub(crate) const fn is_shortage(self) -> bool {
        matches!(self.0, libc::ENOMEM | libc::EMFILE | libc::ENFILE)
    }
}

/// The errors and their words as two lists without pointers, which would have to be relocated in each process.
macro_rules! sentences {
    ($($errno:ident $words:literal)*) => {
        const MEANT: &[Errno] = &[$(Errno::$errno),*];
        const WORDS: &str = concat!($($words, "\0"),*);
    };
}

// What each error means wherever a query returns it; machine(3) says what to do.
sentences! {
    INVAL "an argument is not valid"
    NXIO "no machine is, or has, what was asked for"
    NOTUNIQ "more than one machine has what was asked for"
    NODATA "the record of the machine does not tell"
    NONET "the machine shares the network of the host"
    NOENT "there is no registry of machines"
    BADMSG "the record of the machine is damaged"
    SRCH "there is no such process, or none that /proc shows"
    REMOTE "the process is of another PID namespace"
    UNATCH "the control group is outside of the cgroup namespace of the caller"
    STALE "the registry was removed, and a new monitor is needed"
    CHILD "the monitor belongs to the parent of this process"
    TIMEDOUT "the deadline is over"
    INTR "a signal came"
    NOMEM "memory is short"
    AFNOSUPPORT "the address is neither IPv4 nor IPv6"
    BADF "the descriptor is not open"
    NOTTY "the descriptor is not that of a process"
    NOSYS "/proc is not mounted, which has to tell before Linux 6.13"
    NOBUFS "there is not enough room for the answer"
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sentence().and_then(|sentence| sentence.to_str().ok()) {
            Some(sentence) => f.write_str(sentence),
            None => self.by_the_system(f),
        }
    }
}

impl Errno {
    /// What it means wherever a query returns it; `None` for those of the system, which strerror(3) knows.
    pub fn sentence(self) -> Option<&'static CStr> {
        let place = MEANT.iter().position(|errno| *errno == self)?;
        let words = WORDS.as_bytes().split_inclusive(|&byte| byte == 0).nth(place)?;
        CStr::from_bytes_with_nul(words).ok()
    }

    #[cfg(feature = "std")]
    fn by_the_system(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }

    #[cfg(not(feature = "std"))]
    fn by_the_system(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {} of the system", self.0)
    }
}

impl core::error::Error for Errno {}

#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_error_reads_as_a_sentence_and_becomes_one_of_the_system() {
        assert_eq!(Errno::NXIO.to_string(), "no machine is, or has, what was asked for");
        assert_eq!(Errno(libc::EACCES).to_string(), "Permission denied (os error 13)");
        let error = std::io::Error::from(Errno::SRCH);
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        for (place, errno) in MEANT.iter().enumerate() {
            let sentence = errno.sentence().unwrap().to_str().unwrap();
            assert!(!sentence.ends_with('.') && sentence.contains(' '), "{sentence}");
            assert!(MEANT.iter().skip(place + 1).all(|other| other != errno), "{sentence} is said twice");
        }
    }
}
