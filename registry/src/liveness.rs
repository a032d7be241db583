//! Does the machine still live?
//!
//! A record is trusted unless the process that leads its machine is provably gone. Proof is by pidfd: the process
//! cannot be opened, or is another one than the record means (by its start time where the record has no number of
//! its pidfd), or has exited; and the reader sees the same processes as the writer did. Where no pidfd can be had (no
//! descriptor free, a system call filter) its number is asked: by kill(2), and of /proc. Everything else (another PID
//! namespace, no /proc) means "cannot tell", and a reader that cannot tell believes the record.

/// What identifies a leader for good; zero stands for "not known" in every field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaderIdentity {
    /// The process id. Not positive: the record names no leader, so the machine is dead.
    pub pid: i32,
    /// The inode number of the process's pidfd (`LEADER_PIDFDID=`; pidfs, Linux 6.9).
    pub pidfd_id: u64,
    /// When it started, in clock ticks since boot (`LEADER_STARTTIME=`; field 22 of proc_pid_stat(5)).
    pub start_time: u64,
    /// The inode number of the PID namespace in which `pid` means it (`PIDNS=`).
    pub pid_namespace: u64,
}

/// Why a process could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// There is no such process (`ESRCH`).
    Gone,
    /// Anything else: it says nothing about the process.
    Unknown,
}

/// The questions to the kernel that decide whether a leader is alive.
pub trait Processes {
    /// An open process; dropping it closes it.
    type Handle;
    /// pidfd_open(2).
    ///
    /// # Errors
    /// Why it could not be opened.
    fn open(&self, pid: i32) -> Result<Self::Handle, OpenError>;
    /// The inode number of the pidfd, fstat(2).
    fn inode(&self, process: &Self::Handle) -> Option<u64>;
    /// Whether it has exited, a zombie included: the pidfd is readable, poll(2).
    fn has_exited(&self, process: &Self::Handle) -> bool;
    /// Whether a number is provably nobody's, or that of a process that has exited, without opening it: by kill(2) with
    /// no signal, and /proc.
    fn is_gone(&self, pid: i32) -> bool;
    /// When the process started, from /proc.
    fn start_time(&self, pid: i32) -> Option<u64>;
    /// The inode number of this process's own PID namespace.
    fn pid_namespace(&self) -> Option<u64>;
}

/// Whether a machine with this leader may still be alive.
pub fn is_alive<P: Processes>(leader: &LeaderIdentity, processes: &P) -> bool {
    leader.pid > 0 && (!seems_gone(leader, processes) || !sees_same_processes(leader, processes))
}

/// Whether a leader whose pidfd has an identity runs for certain, whatever PID namespace its id is meant in: a pidfd
/// with this identity is its.
pub(crate) fn certainly_runs<P: Processes>(leader: &LeaderIdentity, processes: &P) -> bool {
    leader.pid > 0
        && leader.pidfd_id != 0
        && processes.open(leader.pid).is_ok_and(|process| {
            processes.inode(&process) == Some(leader.pidfd_id) && !processes.has_exited(&process)
        })
}

fn seems_gone<P: Processes>(leader: &LeaderIdentity, processes: &P) -> bool {
    // Before the process is opened: both need a descriptor, and one must be enough.
    if leader.pidfd_id == 0
        && leader.start_time != 0
        && processes.start_time(leader.pid).is_some_and(|start| start != leader.start_time)
    {
        return true;
    }
    let process = match processes.open(leader.pid) {
        Ok(process) => process,
        Err(OpenError::Gone) => return true,
        Err(OpenError::Unknown) => return processes.is_gone(leader.pid),
    };
    let is_other =
        leader.pidfd_id != 0 && processes.inode(&process).is_some_and(|inode| inode != leader.pidfd_id);
    is_other || processes.has_exited(&process)
}

fn sees_same_processes<P: Processes>(leader: &LeaderIdentity, processes: &P) -> bool {
    leader.pid_namespace == 0 || processes.pid_namespace() == Some(leader.pid_namespace)
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessStat {
    /// It has exited: its state is `Z` or `X`, and no thread is left but the first, which may have ended before the others.
    pub has_exited: bool,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessStat {
    /// Reads the text: fields 3, 20 and 22 of proc_pid_stat(5), counted after the command, which may hold anything.
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let (mut field, mut state, mut threads, mut start_time) = (2_u32, 0_u8, 0_u64, 0_u64);
        for &byte in stat.get(end..)? {
            // The kernel writes digits alone, and no number that is too large. One space is in front of each field.
            let digit = u64::from(byte & 15);
            match field {
                _ if byte == b' ' => field = field.wrapping_add(1),
                3 => state = byte,
                20 => threads = threads.wrapping_mul(10).wrapping_add(digit),
                22 => start_time = start_time.wrapping_mul(10).wrapping_add(digit),
                _ => {}
            }
        }
        let has_exited = matches!(state, b'Z' | b'X') && threads <= 1;
        (field >= 22).then_some(Self { has_exited, start_time })
    }
}

/// The start time in the text of `/proc/PID/stat`.
pub fn start_time_of_stat(stat: &[u8]) -> Option<u64> {
    ProcessStat::parse(stat).map(|stat| stat.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel with one process, as one reader sees it.
    #[derive(Clone, Debug)]
    struct Fake {
        opened: Result<(), OpenError>,
        inode: Option<u64>,
        exited: bool,
        start: Option<u64>,
        namespace: Option<u64>,
        gone: bool,
    }

    impl Processes for Fake {
        type Handle = ();
        fn open(&self, _: i32) -> Result<(), OpenError> {
            self.opened
        }
        fn inode(&self, (): &()) -> Option<u64> {
            self.inode
        }
        fn has_exited(&self, (): &()) -> bool {
            self.exited
        }
        fn is_gone(&self, _: i32) -> bool {
            self.gone
        }
        fn start_time(&self, _: i32) -> Option<u64> {
            self.start
        }
        fn pid_namespace(&self) -> Option<u64> {
            self.namespace
        }
    }

    const LEADER: LeaderIdentity = LeaderIdentity { pid: 42, pidfd_id: 7, start_time: 9, pid_namespace: 3 };
    const ALIVE: Fake = Fake {
        opened: Ok(()),
        inode: Some(7),
        exited: false,
        start: Some(9),
        namespace: Some(3),
        gone: false,
    };

    #[test]
    fn a_leader_that_runs_is_alive() {
        assert!(is_alive(&LEADER, &ALIVE));
    }

    #[test]
    fn a_leader_that_is_gone_is_dead() {
        assert!(!is_alive(&LEADER, &Fake { opened: Err(OpenError::Gone), ..ALIVE }));
        assert!(!is_alive(&LEADER, &Fake { exited: true, ..ALIVE }), "a zombie");
        assert!(!is_alive(&LEADER, &Fake { inode: Some(8), ..ALIVE }), "a recycled pid");
    }

    #[test]
    fn a_recycled_pid_is_seen_without_pidfd_ids() {
        let leader = LeaderIdentity { pidfd_id: 0, ..LEADER };
        assert!(is_alive(&leader, &ALIVE));
        assert!(!is_alive(&leader, &Fake { start: Some(10), ..ALIVE }));
        assert!(is_alive(&leader, &Fake { start: None, ..ALIVE }), "/proc hides it");
        assert!(is_alive(&LeaderIdentity { start_time: 0, ..leader }, &Fake { start: Some(10), ..ALIVE }));
    }

    #[test]
    fn one_descriptor_at_a_time_is_enough() {
        use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

        /// A kernel with one descriptor left.
        struct OneDescriptor;
        struct Taken;
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);

        impl Drop for Taken {
            fn drop(&mut self) {
                IS_TAKEN.store(false, Relaxed);
            }
        }
        impl Processes for OneDescriptor {
            type Handle = Taken;
            fn open(&self, _: i32) -> Result<Taken, OpenError> {
                if IS_TAKEN.swap(true, Relaxed) { Err(OpenError::Unknown) } else { Ok(Taken) }
            }
            fn inode(&self, _: &Taken) -> Option<u64> {
                None
            }
            fn has_exited(&self, _: &Taken) -> bool {
                false
            }
            fn is_gone(&self, _: i32) -> bool {
                false
            }
            fn start_time(&self, _: i32) -> Option<u64> {
                (!IS_TAKEN.load(Relaxed)).then_some(10)
            }
            fn pid_namespace(&self) -> Option<u64> {
                Some(LEADER.pid_namespace)
            }
        }
        let leader = LeaderIdentity { pidfd_id: 0, ..LEADER };
        assert!(!is_alive(&leader, &OneDescriptor), "a recycled pid");
        assert!(is_alive(&LeaderIdentity { start_time: 10, ..leader }, &OneDescriptor));
    }

    #[test]
    fn a_record_without_a_leader_is_dead() {
        assert!(!is_alive(&LeaderIdentity { pid: 0, ..LEADER }, &ALIVE));
        assert!(!is_alive(&LeaderIdentity { pid: -1, ..LEADER }, &ALIVE));
    }

    #[test]
    fn who_cannot_tell_believes_the_record() {
        assert!(is_alive(&LEADER, &Fake { opened: Err(OpenError::Unknown), ..ALIVE }));
        assert!(is_alive(&LEADER, &Fake { opened: Err(OpenError::Gone), namespace: Some(4), ..ALIVE }));
        assert!(is_alive(&LEADER, &Fake { inode: Some(8), namespace: None, ..ALIVE }));
    }

    #[test]
    fn where_no_pidfd_can_be_had_the_number_is_asked() {
        let filtered = Fake { opened: Err(OpenError::Unknown), ..ALIVE };
        assert!(is_alive(&LEADER, &filtered));
        assert!(!is_alive(&LEADER, &Fake { gone: true, ..filtered.clone() }));
        assert!(is_alive(&LEADER, &Fake { gone: true, namespace: Some(4), ..filtered }), "another namespace");
    }

    #[test]
    fn a_zombie_is_told_by_its_state_and_its_threads() {
        let stat = |state: &str, threads: u32| {
            std::format!(
                "42 (a) b) {state} 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 123456 1 2 3"
            )
        };
        let has_exited = |stat: &str| ProcessStat::parse(stat.as_bytes()).map(|stat| stat.has_exited);
        assert_eq!(has_exited(&stat("S", 1)), Some(false));
        assert_eq!(has_exited(&stat("Z", 1)), Some(true));
        assert_eq!(has_exited(&stat("X", 0)), Some(true));
        assert_eq!(has_exited(&stat("Z", 2)), Some(false), "its first thread has ended, another runs");
        assert_eq!(has_exited(""), None);
    }

    #[test]
    fn only_a_process_that_is_seen_runs_for_certain() {
        assert!(certainly_runs(&LEADER, &ALIVE));
        assert!(certainly_runs(&LEADER, &Fake { namespace: Some(4), start: None, ..ALIVE }));
        for doubtful in [
            Fake { opened: Err(OpenError::Gone), ..ALIVE },
            Fake { opened: Err(OpenError::Unknown), ..ALIVE },
            Fake { inode: Some(8), ..ALIVE },
            Fake { inode: None, ..ALIVE },
            Fake { exited: true, ..ALIVE },
        ] {
            assert!(!certainly_runs(&LEADER, &doubtful), "{doubtful:?}");
        }
        assert!(!certainly_runs(&LeaderIdentity { pid: 0, ..LEADER }, &ALIVE));
        let unknown = LeaderIdentity { pidfd_id: 0, ..LEADER };
        assert!(!certainly_runs(&unknown, &ALIVE));
        assert!(!certainly_runs(&unknown, &Fake { inode: Some(0), ..ALIVE }));
    }

    #[test]
    fn a_stock_record_names_no_namespace_and_is_taken_at_its_word() {
        let leader = LeaderIdentity { pid_namespace: 0, ..LEADER };
        assert!(!is_alive(&leader, &Fake { opened: Err(OpenError::Gone), namespace: Some(4), ..ALIVE }));
    }

    #[test]
    fn the_start_time_is_found_behind_any_command() {
        let stat = b"42 (a) b ) (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 2 3";
        assert_eq!(start_time_of_stat(stat), Some(123_456));
        assert_eq!(start_time_of_stat(b"42 (a) S 1 2 3"), None);
        assert_eq!(start_time_of_stat(b""), None);
    }
}
