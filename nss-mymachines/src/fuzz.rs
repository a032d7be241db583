//! Anything where the records and the indexes are: no panic, no byte outside the caller's buffer, and nothing that points
//! there.
//!
//! # Safety
//! The entry points get what glibc promises them: see each of their files. A mount namespace is of this thread alone.

#![allow(unsafe_code, reason = "the C interface")]

use std::ffi::CStr;
use std::ffi::{c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use fuzzing::Target;
use registry::{ADDRESS_DIRECTORY, ALIAS_DIRECTORY, GID_DIRECTORY, MACHINE_DIRECTORY, UID_DIRECTORY};

use crate::{hosts, reverse, users};

const SUCCESS: c_int = 1;
/// What is around each buffer.
const ZONE: usize = 64;
const FILL: u8 = 0x55;

/// An own /run for this thread; `None` where that is not allowed.
fn own_run() -> Option<()> {
    let mount = |source: &CStr, target: &CStr, kind: &CStr, flags| {
        // SAFETY: four strings that end in zero bytes, and no data.
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()) }
    };
    // SAFETY: it changes what this thread sees, and nothing else.
    (unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0).then_some(())?;
    (mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE) == 0).then_some(())?;
    (mount(c"run", c"/run", c"tmpfs", 0) == 0).then_some(())
}

/// A buffer with zones around it that nobody may write to.
struct Guarded {
    bytes: Vec<u8>,
    size: usize,
}

impl Guarded {
    fn new(size: usize) -> Self {
        Self { bytes: vec![FILL; size + 2 * ZONE], size }
    }

    fn start(&mut self) -> *mut c_char {
        self.bytes.as_mut_ptr().wrapping_add(ZONE).cast()
    }

    fn check(&self) {
        let (before, after) = (self.bytes.iter().take(ZONE), self.bytes.iter().skip(ZONE + self.size));
        assert!(before.chain(after).all(|byte| *byte == FILL), "written outside the buffer");
    }

    fn has<T>(&self, at: *const T) {
        let start = self.bytes.as_ptr().addr() + ZONE;
        assert!((start..start + self.size).contains(&at.addr()), "points outside the buffer");
    }

    fn has_text(&self, at: *const c_char) {
        self.has(at);
        // SAFETY: it is in the buffer, behind which is a zone of bytes that are not zero, and then the end of the vector.
        let inside = self.bytes.iter().skip(at.addr() - self.bytes.as_ptr().addr()).take(self.size);
        assert!(inside.clone().any(|byte| *byte == 0), "a text without an end");
    }
}

/// All that may be asked, with a buffer of this size.
fn ask(size: usize) {
    let mut buffer = Guarded::new(size);
    let (mut errno, mut host_errno) = (0, 0);
    // SAFETY: names that end in zero bytes, a buffer of the size given, and out-parameters that live long enough. All of
    // these structures are made of numbers and pointers that may be null.
    unsafe {
        let mut first = ptr::null_mut();
        let status = hosts::_nss_mymachines_gethostbyname4_r(
            c"web".as_ptr(),
            &raw mut first,
            buffer.start(),
            size,
            &raw mut errno,
            &raw mut host_errno,
            ptr::null_mut(),
        );
        buffer.check();
        if status == SUCCESS {
            buffer.has(first);
        }
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut host: libc::hostent = std::mem::zeroed();
            let status = hosts::_nss_mymachines_gethostbyname2_r(
                c"web".as_ptr(),
                family,
                &raw mut host,
                buffer.start(),
                size,
                &raw mut errno,
                &raw mut host_errno,
            );
            buffer.check();
            if status == SUCCESS {
                buffer.has_text(host.h_name);
                buffer.has(host.h_addr_list);
            }
        }
        let mut host: libc::hostent = std::mem::zeroed();
        let status = reverse::_nss_mymachines_gethostbyaddr_r(
            [10_u8, 0, 0, 1].as_ptr().cast(),
            4,
            libc::AF_INET,
            &raw mut host,
            buffer.start(),
            size,
            &raw mut errno,
            &raw mut host_errno,
        );
        buffer.check();
        if status == SUCCESS {
            buffer.has_text(host.h_name);
        }
        ask_ids(
            size,
            std::mem::zeroed(),
            (users::_nss_mymachines_getpwuid_r, users::_nss_mymachines_getpwnam_r, c"vu-web-0"),
            |user: &libc::passwd| vec![user.pw_name, user.pw_dir],
        );
        ask_ids(
            size,
            std::mem::zeroed(),
            (users::_nss_mymachines_getgrgid_r, users::_nss_mymachines_getgrnam_r, c"vg-web-0"),
            |group: &libc::group| vec![group.gr_name],
        );
    }
}

type ById<T> = unsafe extern "C" fn(u32, *mut T, *mut c_char, usize, *mut c_int) -> c_int;
type ByName<T> = unsafe extern "C" fn(*const c_char, *mut T, *mut c_char, usize, *mut c_int) -> c_int;

/// A user or a group, by its id and by its name, with a buffer of this size. `texts` says which texts of an answer there are.
fn ask_ids<T>(
    size: usize,
    mut entry: T,
    (by_id, by_name, name): (ById<T>, ByName<T>, &CStr),
    texts: impl Fn(&T) -> Vec<*mut c_char>,
) {
    let (mut buffer, mut errno) = (Guarded::new(size), 0);
    for is_by_id in [true, false] {
        let (entry, errno, start) = (&raw mut entry, &raw mut errno, buffer.start());
        // SAFETY: as in `ask`.
        let status = unsafe {
            if is_by_id {
                by_id(100_000, entry, start, size, errno)
            } else {
                by_name(name.as_ptr(), entry, start, size, errno)
            }
        };
        buffer.check();
        if status == SUCCESS {
            // SAFETY: it lives as long as this function.
            for text in texts(unsafe { &*entry }) {
                buffer.has_text(text);
            }
        }
    }
}

/// A link with this target, where one may have it.
fn link(directory: &str, name: &str, target: &[u8]) {
    let at = Path::new(directory).join(name);
    let _ = fs::remove_file(&at);
    let _ = std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), at);
}

#[test]
fn any_record_is_answered_within_the_buffer_or_refused() {
    if own_run().is_none() {
        println!("SKIPPED: the module over arbitrary records: it takes root to have another /run");
        return;
    }
    for directory in [MACHINE_DIRECTORY, ADDRESS_DIRECTORY, UID_DIRECTORY, GID_DIRECTORY, ALIAS_DIRECTORY] {
        fs::create_dir_all(directory).unwrap();
    }
    let leader = format!("LEADER={}", std::process::id());
    let words = [
        "NAME=web\n",
        leader.as_str(),
        "CLASS=container\n",
        "ADDRESSES=10.0.0.1",
        " fe80::1%5",
        "UIDMAP=0:100000:65536",
        "GIDMAP=0:100000:65536",
        "UID=0\n",
        "PUBLIC=1\n",
        "\0",
        "100000:65536:0:web;",
        "\n",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/lookup");
    let mut answered = 0_u32;
    Target { corpus, words: &words, longest: 2048 }.run(|input| {
        // The record, and what the indexes say; the corpus cannot know the number of a process that runs.
        let text = String::from_utf8_lossy(input).replace("LEADER=@", &leader).into_bytes();
        let mut parts = text.split(|byte| *byte == 0);
        fs::write(Path::new(MACHINE_DIRECTORY).join("web"), parts.next().unwrap_or_default()).unwrap();
        link(ADDRESS_DIRECTORY, "0a000001", parts.next().unwrap_or(b"web"));
        for directory in [UID_DIRECTORY, GID_DIRECTORY] {
            link(directory, "0001", parts.next().unwrap_or(b"100000:65536:0:web;"));
        }
        for size in [0, 1, 7, 40, 120, 1024] {
            ask(size);
        }
        answered += 1;
    });
    assert!(answered > 0);
}
