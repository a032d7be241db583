//! What the program does before it looks at the image: it maps it, and gives up everything else.
//!
//! # Safety
//! System calls with constants, or with structures that live until they return. The mapping is private, for reading, and stays
//! for as long as the program; whoever shortens the file meanwhile kills it with SIGBUS, and nothing else happens.
#![allow(unsafe_code, reason = "see Safety")]

use std::os::fd::AsFd;

const NOBODY: u32 = 65534;
/// How much processor time it may take, in seconds.
const TIME: u64 = 2;

/// Maps standard input, a file or a block device.
pub(crate) fn map_input() -> Option<&'static [u8]> {
    let input = std::io::stdin();
    let input = input.as_fd();
    let size = rustix::fs::seek(input, rustix::fs::SeekFrom::End(0)).ok()?;
    let size = usize::try_from(size).ok().filter(|&size| size > 0)?;
    let (protection, flags) = (rustix::mm::ProtFlags::READ, rustix::mm::MapFlags::PRIVATE);
    // SAFETY: see the head of the file.
    let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, protection, flags, input, 0) }.ok()?;
    // SAFETY: the mapping is that large.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), size) })
}

/// Gives up what the process has, for good: time, descriptors, capabilities, all system calls but four. Returns whether that
/// worked.
pub(crate) fn lock_up() -> bool {
    // SAFETY: see the head of the file.
    unsafe {
        for (what, most) in [
            (libc::RLIMIT_CPU, TIME),
            (libc::RLIMIT_NOFILE, 3),
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_FSIZE, 1 << 20),
        ] {
            let limit = libc::rlimit64 { rlim_cur: most, rlim_max: most };
            if libc::setrlimit64(what, &raw const limit) != 0 {
                return false;
            }
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
            || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        {
            return false;
        }
        // A service may lack the capability for that, and loses the others all the same.
        libc::setresgid(NOBODY, NOBODY, NOBODY);
        libc::setresuid(NOBODY, NOBODY, NOBODY);
        // _LINUX_CAPABILITY_VERSION_3, this process; nothing effective, permitted or inheritable. capset(2).
        let header: [u32; 2] = [0x2008_0522, 0];
        let none: [u32; 6] = [0; 6];
        if libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) != 0 {
            return false;
        }
        filter()
    }
}

/// What seccomp calls the processor.
const PROCESSOR: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xC000_00F3)
} else if cfg!(target_arch = "s390x") {
    Some(0x8000_0016)
} else {
    None
};

/// Forbids all system calls but four. A filter, and not the strict mode of seccomp(2), which a process that has a filter of its
/// service's already is refused.
unsafe fn filter() -> bool {
    let Some(processor) = PROCESSOR else { return false };
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let decide = |verdict| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: verdict };
    let unless = |value, skip| libc::sock_filter { code: 0x15, jt: skip, jf: 0, k: value };
    let mut program = vec![load(4), unless(processor, 1), decide(libc::SECCOMP_RET_KILL_PROCESS), load(0)];
    let allowed = [libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_exit_group];
    for (call, left) in allowed.into_iter().zip([4, 3, 2, 1]) {
        let Ok(call) = u32::try_from(call) else { return false };
        program.push(unless(call, left));
    }
    program.push(decide(libc::SECCOMP_RET_KILL_PROCESS));
    program.push(decide(libc::SECCOMP_RET_ALLOW));
    let Ok(len) = u16::try_from(program.len()) else { return false };
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the program lives until this returns.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0 }
}

/// Writes the answer. Returns whether it was taken.
pub(crate) fn say(mut answer: &[u8]) -> bool {
    while !answer.is_empty() {
        // SAFETY: the bytes live until this returns.
        let written = unsafe { libc::write(1, answer.as_ptr().cast(), answer.len()) };
        match usize::try_from(written).ok().and_then(|written| answer.get(written..)) {
            Some(rest) if written > 0 => answer = rest,
            _ => return false,
        }
    }
    true
}

/// Ends without anything that would call for more than is allowed.
pub(crate) fn end(status: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// What the process that runs the test below again is to do once it is locked up.
    const DEED: &str = "IMAGE_READER_DEED";

    #[test]
    fn whoever_is_locked_up_reads_writes_and_ends_or_is_killed() {
        if let Ok(deed) = std::env::var(DEED) {
            do_locked_up(&deed);
        }
        for (deed, killed_by) in [
            ("end", None),
            ("write", None),
            ("open", Some(libc::SIGSYS)),
            ("socket", Some(libc::SIGSYS)),
            ("map", Some(libc::SIGSYS)),
            ("execute", Some(libc::SIGSYS)),
            ("kill", Some(libc::SIGSYS)),
        ] {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "locked::tests::whoever_is_locked_up_reads_writes_and_ends_or_is_killed"]);
            let ended = again.arg("--nocapture").env(DEED, deed).output().unwrap();
            assert_eq!(ended.status.signal(), killed_by, "{deed}: {ended:?}");
            assert!(killed_by.is_some() || ended.status.code() == Some(0), "{deed}: {ended:?}");
            assert_eq!(ended.stdout.ends_with(b"said"), deed == "write", "{deed}");
        }
    }

    fn do_locked_up(deed: &str) -> ! {
        if !lock_up() {
            end(3);
        }
        // SAFETY: none of the calls does anything but to be refused.
        unsafe {
            match deed {
                "write" => end(i32::from(!say(b"said"))),
                "open" => libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY),
                "socket" => libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
                "map" => i32::from(
                    libc::mmap(
                        std::ptr::null_mut(),
                        4096,
                        libc::PROT_READ,
                        libc::MAP_PRIVATE | libc::MAP_ANON,
                        -1,
                        0,
                    )
                    .is_null(),
                ),
                "execute" => libc::execve(c"/bin/true".as_ptr(), std::ptr::null(), std::ptr::null()),
                "kill" => libc::kill(1, 0),
                _ => 0,
            };
        }
        end(0)
    }
}
