//! Who sends a message, as the bus vouches for it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use zbus::{OwnedVariant, Variant};

/// The process that connected to the bus, as the kernel recorded it then.
#[derive(Debug)]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// `None` when it lives in a PID namespace that the bus cannot see into.
    pub pid: Option<Pid>,
    /// `None` with buses that hand out none (dbus-daemon before 1.15.8), and on old kernels.
    pub pidfd: Option<OwnedFd>,
}

impl Credentials {
    /// Root, or whom the daemon itself runs as.
    pub fn is_privileged(&self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// What `org.freedesktop.DBus.GetConnectionCredentials` answered; `None` if it does not say who it is.
    pub(crate) fn of_dictionary(mut dictionary: HashMap<String, OwnedVariant>) -> Option<Self> {
        let mut number = |key: &str| match dictionary.remove(key).map(Variant::from) {
            Some(Variant::U32(number)) => Some(number),
            _ => None,
        };
        let uid = number("UnixUserID")?;
        let pid = number("ProcessID").and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pidfd = match dictionary.remove("ProcessFD").map(Variant::from) {
            Some(Variant::Fd(fd)) => fd.try_to_owned().ok().and_then(|fd| match fd {
                zbus::Fd::Owned(fd) => Some(fd),
                zbus::Fd::Borrowed(_) => None,
            }),
            _ => None,
        };
        Some(Self { uid, pid, pidfd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(entries: &[(&str, u32)]) -> HashMap<String, OwnedVariant> {
        let owned =
            |&(key, value): &(&str, u32)| (key.to_owned(), Variant::from(value).try_into_owned().unwrap());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn a_sender_without_a_uid_is_nobody() {
        assert!(Credentials::of_dictionary(dictionary(&[("ProcessID", 7)])).is_none());
        let known =
            Credentials::of_dictionary(dictionary(&[("UnixUserID", 1000), ("ProcessID", 7)])).unwrap();
        assert_eq!((known.uid, known.pid), (1000, Pid::from_raw(7)));
        assert!(
            Credentials::of_dictionary(dictionary(&[("UnixUserID", 1), ("ProcessID", 0)]))
                .unwrap()
                .pid
                .is_none()
        );
    }

    #[test]
    fn the_descriptor_of_the_process_comes_along() {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut entries = dictionary(&[("UnixUserID", 0)]);
        entries.insert("ProcessFD".to_owned(), Variant::Fd(file.into()).try_into_owned().unwrap());
        assert!(Credentials::of_dictionary(entries).unwrap().pidfd.is_some());
    }
}
