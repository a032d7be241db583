//! What the daemon asks of the doorman, and what it is answered.

use std::os::fd::OwnedFd;

use images::Progress;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::message::LONGEST;
use super::progress;

/// A bind mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// What, on the host.
    pub source: String,
    /// Where, in the container.
    pub destination: String,
    /// Whether it is only for reading.
    pub is_read_only: bool,
    /// Whether what it is mounted on is made where it is missing.
    pub makes_directories: bool,
}

/// From where to where something is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    /// From the host into the container.
    Into,
    /// Out of it.
    OutOf,
}

/// A copy between the host and a container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Copy {
    /// From where to where.
    pub direction: Direction,
    /// What is copied, with its path.
    pub source: String,
    /// What it is to be, with its path.
    pub destination: String,
    /// Whether files that are there already are replaced.
    pub replaces: bool,
    /// Who is to own it all; everything keeps its owner otherwise.
    pub owner: Option<u32>,
    /// Whether it is counted first.
    pub counts: bool,
}

/// What a child is to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// To read small files until the connection ends.
    Reader,
    /// To open the root directory of a process.
    Root,
    /// To mount something of the host.
    Bind(Bind),
    /// To copy something.
    Copy(Copy),
    /// To open a terminal, and to connect to the bus if that is wanted.
    Terminal {
        /// Whether it is.
        bus: bool,
        /// What is to run on the terminal, which may not be there.
        program: Option<String>,
    },
}

/// A request. Its descriptors are the socket for the answer, the pidfd of the leader if there is one, the control group
/// if there is one, and then those of the work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The leader of the machine that the work is in.
    pub leader: Option<i32>,
    /// Whether a control group comes with it.
    pub has_group: bool,
    /// What is to be done.
    pub work: Work,
}

impl Request {
    /// As bytes.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Errno> {
        let bytes = serde_json::to_vec(self).map_err(|_| Errno::BADMSG)?;
        if bytes.len() > LONGEST { Err(Errno::TOOBIG) } else { Ok(bytes) }
    }

    /// What was encoded.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        serde_json::from_slice(bytes).map_err(|_| Errno::BADMSG)
    }
}

/// What comes back.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// The child has been started, and has this number; with its pidfd, unless it has ended already. It may come
    /// behind what the child says.
    Begun(i32),
    /// It has not been started, because of this.
    NotBegun(Errno),
    /// It has done what it was told; perhaps with descriptors.
    Done(Vec<u8>),
    /// It has not, because of this.
    Failed(Errno),
    /// The same, at this file.
    FailedAt(Errno, String),
    /// How far it is.
    Progress(Progress),
}

impl Report {
    /// As bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Begun(pid) => [&b"B"[..], &pid.to_ne_bytes()].concat(),
            Self::NotBegun(errno) => [&b"N"[..], &errno.raw_os_error().to_ne_bytes()].concat(),
            Self::Done(bytes) => [b"D", bytes.as_slice()].concat(),
            Self::Failed(errno) => [&b"F"[..], &errno.raw_os_error().to_ne_bytes()].concat(),
            Self::FailedAt(errno, path) => {
                [&b"A"[..], &errno.raw_os_error().to_ne_bytes(), path.as_bytes()].concat()
            }
            Self::Progress(progress) => [&b"P"[..], &progress::encode(progress)].concat(),
        }
    }

    /// What was encoded.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        let number = |bytes: &[u8]| bytes.try_into().map(i32::from_ne_bytes).map_err(|_| Errno::BADMSG);
        let errno = |bytes: &[u8]| number(bytes).map(Errno::from_raw_os_error);
        match bytes.split_first() {
            Some((b'B', pid)) => Ok(Self::Begun(number(pid)?)),
            Some((b'N', bytes)) => Ok(Self::NotBegun(errno(bytes)?)),
            Some((b'D', bytes)) => Ok(Self::Done(bytes.to_vec())),
            Some((b'F', bytes)) => Ok(Self::Failed(errno(bytes)?)),
            Some((b'A', bytes)) => {
                let (number, path) = bytes.split_at_checked(4).ok_or(Errno::BADMSG)?;
                let path = std::str::from_utf8(path).map_err(|_| Errno::BADMSG)?;
                Ok(Self::FailedAt(errno(number)?, path.to_owned()))
            }
            Some((b'P', bytes)) => progress::decode(bytes).map(Self::Progress).ok_or(Errno::BADMSG),
            _ => Err(Errno::BADMSG),
        }
    }
}

/// What a child has found or made.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for report in [
            Report::Begun(77),
            Report::NotBegun(Errno::AGAIN),
            Report::Done(Vec::new()),
            Report::Done(b"BF".to_vec()),
            Report::Failed(Errno::NOENT),
            Report::FailedAt(Errno::NOSPC, "a/b".to_owned()),
            Report::Progress(Progress { bytes: 1, files: 2, total: Some((3, 4)) }),
        ] {
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
        for damaged in [&b""[..], b"B", b"F123", b"A12", b"P1", b"X"] {
            assert_eq!(Report::decode(damaged), Err(Errno::BADMSG));
        }
        let terminal = Work::Terminal { bus: true, program: Some("/bin/sh".to_owned()) };
        for work in [Work::Reader, Work::Root, terminal] {
            let request = Request { leader: Some(7), has_group: true, work };
            assert_eq!(Request::decode(&request.encode().unwrap()), Ok(request));
        }
    }
}
