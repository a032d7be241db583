//! Notes on the socket that say which users and groups it is about.
//!
//! Clients of systemd 262 do not ask a service whose notes exclude what they look for. Notes are extended attributes,
//! which the kernel takes on sockets since 7.1; without them every client asks.

use std::io;
use std::path::Path;

use rustix::fs::XattrFlags;
use tracing::debug;

/// The notes and what they say: any id that can be a machine's, and names as they are made.
const NOTES: [(&str, &str); 4] = [
    ("user.userdb.uid", "65536-4294967294"),
    ("user.userdb.gid", "65536-4294967294"),
    ("user.userdb.username", "vu-*"),
    ("user.userdb.groupname", "vg-*"),
];

/// What can be noted on.
pub trait Notable {
    /// Sets an extended attribute, setxattr(2).
    ///
    /// # Errors
    /// What the kernel says.
    fn note(&self, name: &str, text: &str) -> io::Result<()>;
}

impl Notable for Path {
    fn note(&self, name: &str, text: &str) -> io::Result<()> {
        // What is no socket of ours but a link to something else is left alone.
        Ok(rustix::fs::lsetxattr(self, name, text.as_bytes(), XattrFlags::empty())?)
    }
}

/// Notes on the socket what it is about, if that can be done. Returns whether it could.
pub fn mark(socket: &(impl Notable + ?Sized)) -> bool {
    let noted = NOTES.iter().try_for_each(|(name, text)| socket.note(name, text));
    if let Err(error) = &noted {
        debug!("Cannot note on the socket which users it is about: {error}");
    }
    noted.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A kernel with room for so many notes.
    struct Fake {
        room: usize,
        noted: RefCell<Vec<String>>,
    }

    impl Notable for Fake {
        fn note(&self, name: &str, text: &str) -> io::Result<()> {
            let mut noted = self.noted.borrow_mut();
            if noted.len() == self.room {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            noted.push(format!("{name}={text}"));
            Ok(())
        }
    }

    fn fake(room: usize) -> Fake {
        Fake { room, noted: RefCell::default() }
    }

    #[test]
    fn a_kernel_that_takes_notes_gets_those_of_the_original() {
        let kernel = fake(9);
        assert!(mark(&kernel));
        assert_eq!(
            *kernel.noted.borrow(),
            [
                "user.userdb.uid=65536-4294967294",
                "user.userdb.gid=65536-4294967294",
                "user.userdb.username=vu-*",
                "user.userdb.groupname=vg-*"
            ]
        );
    }

    #[test]
    fn a_kernel_that_refuses_is_no_error() {
        for room in 0..4 {
            assert!(!mark(&fake(room)), "{room}");
        }
    }

    #[test]
    fn notes_are_extended_attributes_of_the_file_itself() {
        let directory = std::env::temp_dir().join(format!("mark-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (file, link) = (directory.join("file"), directory.join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let mut text = [0; 64];
        let is_possible = file.note("user.test", "x").is_ok();
        assert_eq!(mark(file.as_path()), is_possible, "as for any file here");
        if is_possible {
            let length = rustix::fs::lgetxattr(&file, "user.userdb.username", &mut text).unwrap();
            assert_eq!(&text[..length], b"vu-*");
        }
        rustix::fs::lremovexattr(&file, "user.userdb.username").unwrap_or_default();
        assert!(!mark(link.as_path()));
        assert!(
            rustix::fs::lgetxattr(&file, "user.userdb.username", &mut text).is_err(),
            "not through a link"
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
