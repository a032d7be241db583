//! The id index: which machines may have this id of the host?
//!
//! `/run/machined/uids/PAGE` lists the ranges of uids that reach into one page of 65,536, PAGE being the uid divided by
//! 65,536 in four lower-case hexadecimal digits; `gids` does the same for gids. A machine with more than [`WIDE`] pages
//! has none for itself: its ranges are in the list `wide`, which is read where there is no page, and in those pages that
//! others have. Each list is the target of a symlink if it fits into one, and a file otherwise.
//!
//! A list is a row of `OUTSIDE:COUNT:INSIDE:MACHINE`, each ended by `;`. Where many machines have the very same range
//! it names two of them, which is enough to know that nobody has its ids for himself. The index is a hint: the records
//! of the machines it names decide.

use crate::decimal::parse_decimal;
use crate::files::{FileError, Files, read_file};
use crate::path::{GID_DIRECTORY, Path, UID_DIRECTORY};
use crate::text::Text;
use crate::{IdKind, IdRange, MachineName};

/// The most pages that a machine has of its own.
pub const WIDE: u32 = 256;

/// The longest list that is a symlink, in bytes.
pub const LIST_LINK_MAX: usize = 4095;

/// The longest list. What does not fit is not found by its id.
pub const LIST_MAX: usize = 1024 * 1024;

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
        let mut path = Path::new();
        path.push(match kind {
            IdKind::User => UID_DIRECTORY.as_bytes(),
            IdKind::Group => GID_DIRECTORY.as_bytes(),
        });
        path.push(b"/");
        match self {
            Self::Page(page) => path.push_hex(&page.to_be_bytes()),
            Self::Wide => path.push(b"wide"),
        }
        path
    }
}

/// The machines that a list names for an id, each once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Claimants {
    names: [Option<MachineName>; CLAIMANTS],
    too_many: bool,
}

impl Claimants {
    /// Those that a list may name for this id, `None` if they are too many.
    pub(crate) fn find<F: Files>(files: &F, kind: IdKind, id: u32) -> Result<Option<Self>, FileError> {
        let mut scan = ListScan { id, word: Text::EMPTY, claimants: Self::default() };
        match read_list(files, &IdList::of(id).path(kind), &mut scan) {
            Err(FileError::Absent) => match read_list(files, &IdList::Wide.path(kind), &mut scan) {
                Err(FileError::Absent) => Ok(()),
                other => other,
            },
            other => other,
        }?;
        Ok(Some(scan.claimants).filter(|claimants| !claimants.too_many))
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &MachineName> {
        self.names.iter().flatten()
    }

    fn add(&mut self, name: MachineName) {
        for slot in &mut self.names {
            match slot {
                Some(other) if *other == name => return,
                Some(_) => {}
                None => {
                    *slot = Some(name);
                    return;
                }
            }
        }
        self.too_many = true;
    }
}

/// Reads a list in pieces.
struct ListScan {
    id: u32,
    // Three numbers of ten digits, a name of 64 bytes, three colons.
    word: Text<97>,
    claimants: Claimants,
}

impl ListScan {
    fn feed(&mut self, piece: &[u8]) {
        for &byte in piece {
            if byte == b';' {
                if let Some(name) = self.word.get().and_then(|word| claim(word, self.id)) {
                    self.claimants.add(name);
                }
                self.word.clear();
            } else {
                self.word.push(byte);
            }
        }
    }
}

/// The machine that an entry of a list names, if its range has the id.
fn claim(entry: &[u8], id: u32) -> Option<MachineName> {
    let mut fields = entry.splitn(4, |&byte| byte == b':');
    let mut number = || parse_decimal(fields.next()?).and_then(|number| u32::try_from(number).ok());
    let (outside, count, inside) = (number()?, number()?, number()?);
    IdRange::new(inside, outside, count)?.to_machine(id)?;
    MachineName::new(fields.next()?).ok()
}

/// Apart from its caller, whose stack it would make deeper for all that follows.
#[inline(never)]
fn read_list<F: Files>(files: &F, path: &Path, scan: &mut ListScan) -> Result<(), FileError> {
    let mut buffer = [0_u8; LIST_LINK_MAX + 1];
    match files.read_link(path, &mut buffer) {
        Ok(list) => {
            scan.feed(list);
            return Ok(());
        }
        Err(FileError::OtherKind) => {}
        Err(error) => return Err(error),
    }
    match read_file(files, path, LIST_MAX, &mut |piece| scan.feed(piece)) {
        // A directory, which nobody of this suite made.
        Err(FileError::OtherKind) => Err(FileError::Absent),
        other => other,
    }
}

#[cfg(feature = "std")]
mod text {
    use super::{IdRange, LIST_MAX, MachineName};
    use std::fmt::Write;
    use std::string::String;

    /// The text of a list. Entries behind [`LIST_MAX`] bytes are left out.
    pub fn list_text<'a>(entries: impl Iterator<Item = (IdRange, &'a MachineName)>) -> String {
        let mut text = String::new();
        for (range, name) in entries {
            let before = text.len();
            // Writing to a string does not fail.
            let _ = write!(text, "{}:{}:{}:{name};", range.outside, range.count, range.inside);
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

    #[test]
    fn lists_are_named_by_the_upper_half_of_the_id() {
        assert_eq!(IdList::of(0x0001_0000).path(IdKind::User).as_c_str(), c"/run/machined/uids/0001");
        assert_eq!(IdList::of(0xfffe_ffff).path(IdKind::Group).as_c_str(), c"/run/machined/gids/fffe");
        assert_eq!(IdList::Wide.path(IdKind::Group).as_c_str(), c"/run/machined/gids/wide");
    }

    fn claimants(list: &str, id: u32) -> Option<std::vec::Vec<std::string::String>> {
        let mut scan = ListScan { id, word: Text::EMPTY, claimants: Claimants::default() };
        scan.feed(list.as_bytes());
        let names = scan.claimants.names().map(std::string::ToString::to_string).collect();
        Some(names).filter(|_| !scan.claimants.too_many)
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
        let name = MachineName::new("m".repeat(64).as_bytes()).unwrap();
        let range = IdRange::new(4_000_000_000, 4_000_000_000, 4).unwrap();
        let text = list_text([(range, &name)].into_iter());
        assert_eq!(claimants(&text, 4_000_000_003).unwrap(), [name.as_str()]);
        let text = list_text((0..20_000).map(|_| (range, &name)));
        assert!(text.len() <= LIST_MAX && text.len() > LIST_MAX - 100 && text.ends_with(';'));
    }
}
