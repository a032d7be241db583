//! The id index: which machines may have this id of the host?
//!
//! `/run/machined/uids/PAGE` lists the ranges of uids that reach into one page of 65,536, PAGE being the uid divided by
//! 65,536 in four lower-case hexadecimal digits; `gids` does the same for gids. A machine with more than [`WIDE`] pages
//! has none for itself: its ranges are in the list `wide`, which is read where there is no page, and in those pages that
//! others have. Each list is the target of a symlink if it fits into one, and a file otherwise.
//!
//! A list is a row of `OUTSIDE:COUNT:INSIDE:MACHINE:PID:PIDFDID`, each ended by `;`, of the machine and its leader. The
//! leader is left out where its pidfd has no identity. Where many machines have the very same range it names two of them,
//! which is enough to know that no machine has its ids alone.
//!
//! The index is a hint: the records of the machines it names decide. An entry answers in the place of its record, which is
//! then not read, only if the leader that the entry names certainly runs; whatever else is seen, the record is read. It is
//! what the record says, or said until a moment ago, by what the daemon does, the only writer of both:
//!
//! - An entry is written after the record that it is taken from, of containers only, with the map and the leader that
//!   stand there (or will, where /run is full). A machine's leader never changes, and the kernel lets a map be written once.
//! - An entry is removed before the record of its machine, so that none outlives its record, wherever the daemon dies. A
//!   list that cannot be written, because /run is full, is removed until it can be.
//! - At its start the daemon takes in the living of the machines it finds, as they are now (a leader may have gone to
//!   another user namespace), and then puts all lists right. Until then they say what they said before.

use crate::decimal::parse_decimal;
use crate::files::{FileError, Files, read_file};
use crate::path::{GID_DIRECTORY, Path, UID_DIRECTORY, entry_path};
use crate::text::{Fields, Text};
use crate::{IdKind, IdRange, LeaderIdentity, MachineName};

/// The most pages that a machine has of its own.
pub const WIDE: u32 = 256;

/// The longest list that is a symlink, in bytes.
pub(crate) const LIST_LINK_MAX: usize = 4095;

/// The longest list. What does not fit is not found by its id.
pub(crate) const LIST_MAX: usize = 1024 * 1024;

/// How often a list is looked for that was a file when it was asked for as a symlink, and none when it was opened.
const ATTEMPTS: u32 = 4;

/// How many machines a list may name for one id. More are too many to have it for themselves.
const CLAIMANTS: usize = 4;

/// A list of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum IdList {
    /// The ids whose upper half is this number.
    Page(u16),
    /// The ranges of the machines that have too many pages.
    Wide,
}

impl IdList {
    /// The page of an id.
    pub fn of(id: u32) -> Self {
        Self::Page(u16::try_from(id >> 16).unwrap_or_default())
    }

    /// The path of the list.
    pub fn path(self, kind: IdKind) -> Path {
        let directory = match kind {
            IdKind::User => UID_DIRECTORY,
            IdKind::Group => GID_DIRECTORY,
        };
        let mut path = entry_path(directory, b"");
        match self {
            Self::Page(page) => path.push_hex(&page.to_be_bytes()),
            Self::Wide => path.push(b"wide"),
        }
        path
    }
}

/// What a list says of a machine that may have an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) machine: MachineName,
    pub(crate) range: IdRange,
    /// Its leader, by its id and that of its pidfd alone; all zero where the list does not name it.
    pub(crate) leader: LeaderIdentity,
}

/// The machines that a list names for an id, each once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Claimants {
    claims: [Option<Claim>; CLAIMANTS],
    too_many: bool,
}

impl Claimants {
    /// Takes in those that a list may name for this id.
    pub(crate) fn find<F: Files>(&mut self, files: &F, kind: IdKind, id: u32) -> Result<(), FileError> {
        let mut scan = ListScan { id, word: Text::EMPTY, claimants: self };
        for list in [IdList::of(id), IdList::Wide] {
            match read_list(files, &list.path(kind), &mut scan) {
                Err(FileError::Absent) => {}
                outcome => return outcome,
            }
        }
        Ok(())
    }

    /// What is said of them; nothing if they are too many.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().flatten().filter(|_| !self.too_many)
    }

    fn add(&mut self, claim: Claim) {
        for slot in &mut self.claims {
            match slot {
                Some(other) if other.machine == claim.machine => {
                    // The record has to say which is true.
                    if *other != claim {
                        other.leader = LeaderIdentity::default();
                    }
                    return;
                }
                Some(_) => {}
                None => {
                    *slot = Some(claim);
                    return;
                }
            }
        }
        self.too_many = true;
    }
}

/// Reads a list in pieces.
struct ListScan<'a> {
    id: u32,
    // Four numbers of ten digits and one of twenty, a name of 64 bytes, five colons.
    word: Text<129>,
    claimants: &'a mut Claimants,
}

impl ListScan<'_> {
    fn feed(&mut self, piece: &[u8]) {
        for &byte in piece {
            if byte == b';' {
                if let Some(claim) = self.word.get().and_then(|word| claim(word, self.id)) {
                    self.claimants.add(claim);
                }
                self.word.clear();
            } else {
                self.word.push(byte);
            }
        }
    }
}

/// What an entry of a list says, if its range has the id.
fn claim(entry: &[u8], id: u32) -> Option<Claim> {
    let mut fields = Fields::new(entry, b':');
    let (outside, count, inside) = (fields.number()?, fields.number()?, fields.number()?);
    let range = IdRange::new(inside, outside, count)?;
    range.to_machine(id)?;
    let machine = MachineName::new(fields.next()?).ok()?;
    let mut leader = LeaderIdentity::default();
    if !fields.is_at_end() {
        leader.pid = i32::try_from(fields.number()?).ok()?;
        leader.pidfd_id = parse_decimal(fields.next()?)?;
    }
    fields.is_at_end().then_some(Claim { machine, range, leader })
}

/// Apart from its caller, whose stack it would make deeper for all that follows.
#[inline(never)]
fn read_list<F: Files>(files: &F, path: &Path, scan: &mut ListScan<'_>) -> Result<(), FileError> {
    let mut buffer = [0_u8; LIST_LINK_MAX + 1];
    for _ in 0..ATTEMPTS {
        match files.read_link(path, &mut buffer) {
            Ok(list) => {
                scan.feed(list);
                return Ok(());
            }
            Err(FileError::OtherKind) => {}
            Err(error) => return Err(error),
        }
        match read_file(files, path, LIST_MAX, &mut |piece| scan.feed(piece)) {
            // A file a moment ago, and a symlink now; or gone.
            Err(FileError::Absent) => {}
            // A directory, which nobody of this suite made.
            Err(FileError::OtherKind) => return Err(FileError::Absent),
            other => return other,
        }
    }
    Err(FileError::Absent)
}

#[cfg(feature = "std")]
mod text {
    use super::{IdRange, LIST_MAX};
    use crate::{Process, Record};
    use std::fmt::Write;
    use std::string::String;

    /// The text of a list: ranges, and the records of the machines that have them. Entries behind `LIST_MAX` bytes are
    /// left out.
    pub fn list_text<'a>(entries: impl Iterator<Item = (IdRange, &'a Record)>) -> String {
        let mut text = String::new();
        for (range, record) in entries {
            let before = text.len();
            // Writing to a string does not fail.
            let _ = write!(text, "{}:{}:{}:{}", range.outside, range.count, range.inside, record.name);
            if let Some(Process { pid, pidfd_id: Some(pidfd_id) }) = record.leader {
                let _ = write!(text, ":{pid}:{pidfd_id}");
            }
            text.push(';');
            if text.len() > LIST_MAX {
                text.truncate(before);
                break;
            }
        }
        text
    }
}
#[cfg(feature = "std")]
pub use text::list_text;

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn lists_are_named_by_the_upper_half_of_the_id() {
        assert_eq!(IdList::of(0x0001_0000).path(IdKind::User).as_c_str(), c"/run/machined/uids/0001");
        assert_eq!(IdList::of(0xfffe_ffff).path(IdKind::Group).as_c_str(), c"/run/machined/gids/fffe");
        assert_eq!(IdList::Wide.path(IdKind::Group).as_c_str(), c"/run/machined/gids/wide");
    }

    fn claims(list: &str, id: u32) -> Option<std::vec::Vec<Claim>> {
        let mut claimants = Claimants::default();
        ListScan { id, word: Text::EMPTY, claimants: &mut claimants }.feed(list.as_bytes());
        (!claimants.too_many).then(|| claimants.claims().copied().collect())
    }

    fn claimants(list: &str, id: u32) -> Option<std::vec::Vec<std::string::String>> {
        Some(claims(list, id)?.iter().map(|claim| claim.machine.to_string()).collect())
    }

    #[test]
    fn an_entry_claims_the_ids_of_its_range() {
        let list = "100000:65536:0:a;165536:65536:0:b;150000:10:5:c;";
        let named = |id| claimants(list, id).unwrap();
        assert_eq!(named(99_999), [""; 0]);
        assert_eq!(named(100_000), ["a"]);
        assert_eq!(named(150_009), ["a", "c"]);
        assert_eq!(named(150_010), ["a"]);
        assert_eq!(named(165_536), ["b"]);
        assert_eq!(named(231_072), [""; 0]);
    }

    #[test]
    fn an_entry_names_the_leader_or_does_not() {
        let leader = |list: &str| claims(list, 100_000).unwrap().first().map(|claim| claim.leader);
        let known = LeaderIdentity { pid: 42, pidfd_id: u64::MAX, ..LeaderIdentity::default() };
        assert_eq!(leader("100000:65536:0:a:42:18446744073709551615;"), Some(known));
        assert_eq!(leader("100000:65536:0:a;"), Some(LeaderIdentity::default()));
        assert_eq!(leader("100000:10:0:a:42:7;100000:10:0:a:42:7;").map(|leader| leader.pid), Some(42));
        for other in ["100000:10:0:a:42:8", "100000:10:0:a:43:7", "100000:10:1:a:42:7", "100000:10:0:a"] {
            let twice = std::format!("100000:10:0:a:42:7;{other};");
            assert_eq!(leader(&twice), Some(LeaderIdentity::default()), "{other}: the record has to say");
        }
    }

    #[test]
    fn a_machine_claims_an_id_once_and_too_many_claim_none() {
        assert_eq!(claimants("100000:1:0:a;100000:1:0:a;", 100_000).unwrap(), ["a"]);
        let list = "100000:1:0:a;100000:1:0:b;100000:1:0:c;100000:1:0:d;";
        assert_eq!(claimants(list, 100_000).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(claimants(&std::format!("{list}100000:1:0:e;"), 100_000), None);
    }

    #[test]
    fn damaged_entries_claim_nothing_and_harm_no_other() {
        for damaged in [
            "",
            ";",
            "x",
            "100000",
            "100000:1:0",
            "100000:1:0:",
            "100000:0:0:a",
            "100000:1:0:a_b",
            "100000:1:0:a:b",
            "4294967295:9:0:a",
            "-1:1:0:a",
            "100000:1:0:..",
            "0:100001:0:/etc",
            "100000:1:0:a:",
            "100000:1:0:a::7",
            "100000:1:0:a:42:",
            "100000:1:0:a:42:x",
            "100000:1:0:a:-1:7",
            "100000:1:0:a:2147483648:7",
            "100000:1:0:a:42:7:",
            "100000:1:0:a:42:18446744073709551616",
        ] {
            assert_eq!(
                claimants(&std::format!("{damaged};100000:1:0:b;"), 100_000).unwrap(),
                ["b"],
                "{damaged}"
            );
        }
        let long = "x".repeat(5000);
        assert_eq!(
            claimants(&std::format!("100000:1:0:{long};100000:1:0:b;100000:1:0:cut"), 100_000).unwrap(),
            ["b"]
        );
    }

    #[test]
    #[cfg(feature = "std")]
    fn a_list_is_written_as_it_is_read_and_ends_at_its_limit() {
        use crate::{Class, Process, Record};
        let name = MachineName::new("m".repeat(64).as_bytes()).unwrap();
        let mut record = Record::new(name, Class::Container);
        let range = IdRange::new(4_000_000_000, 4_000_000_000, 4).unwrap();
        let read = |record: &Record| match claims(&list_text([(range, record)].into_iter()), 4_000_000_003) {
            Some(claims) => claims.iter().map(|claim| (claim.machine, claim.leader)).next(),
            None => None,
        };
        assert_eq!(read(&record), Some((name, LeaderIdentity::default())));
        record.leader = Some(Process { pid: i32::MAX, pidfd_id: None });
        assert_eq!(read(&record), Some((name, LeaderIdentity::default())));
        record.leader = Some(Process { pid: i32::MAX, pidfd_id: Some(u64::MAX) });
        let leader = LeaderIdentity { pid: i32::MAX, pidfd_id: u64::MAX, ..LeaderIdentity::default() };
        assert_eq!(read(&record), Some((name, leader)));
        let text = list_text((0..20_000).map(|_| (range, &record)));
        assert!(text.len() <= LIST_MAX && text.len() > LIST_MAX - 130 && text.ends_with(';'));
    }
}

#[cfg(test)]
pub(crate) mod fuzz {
    use std::string::String;

    use super::*;

    /// What a list says of an id, read in pieces; `None`: too many claim it.
    pub(crate) fn claims_in_pieces(list: &[u8], id: u32, piece: usize) -> Option<std::vec::Vec<String>> {
        let mut claimants = Claimants::default();
        let mut scan = ListScan { id, word: Text::EMPTY, claimants: &mut claimants };
        for piece in list.chunks(piece) {
            scan.feed(piece);
        }
        let told = claimants.claims().map(|claim| {
            assert!(claim.range.to_machine(id).is_some());
            std::format!("{} {:?} {:?}", claim.machine.as_str(), claim.range, claim.leader)
        });
        (!claimants.too_many).then(|| told.collect())
    }
}
