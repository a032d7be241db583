use super::*;
use crate::filter::Filter;
use registry::{FileError, OpenError, Path};
use std::collections::HashMap;

/// A registry in memory, whose leaders all live.
#[derive(Default)]
struct World {
    files: HashMap<&'static str, &'static [u8]>,
    links: HashMap<&'static str, &'static str>,
    failing: Option<FileError>,
}

fn copy<'a>(from: &[u8], to: &'a mut [u8]) -> &'a [u8] {
    let to = &mut to[..from.len()];
    to.copy_from_slice(from);
    to
}

impl Files for World {
    type File = &'static [u8];
    fn open(&self, path: &Path) -> Result<Self::File, FileError> {
        self.failing.map_or(Ok(()), Err)?;
        self.files.get(path.as_c_str().to_str().unwrap()).copied().ok_or(FileError::Absent)
    }
    fn read<'a>(&self, file: &Self::File, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        Ok(copy(file, buffer))
    }
    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        self.failing.map_or(Ok(()), Err)?;
        let target = self.links.get(path.as_c_str().to_str().unwrap()).ok_or(FileError::Absent)?;
        Ok(copy(target.as_bytes(), buffer))
    }
}

impl Processes for World {
    type Handle = ();
    fn open(&self, _: i32) -> Result<(), OpenError> {
        Ok(())
    }
    fn inode(&self, (): &()) -> Option<u64> {
        None
    }
    fn has_exited(&self, (): &()) -> bool {
        false
    }
    fn is_gone(&self, _: i32) -> bool {
        false
    }
    fn start_time(&self, _: i32) -> Option<u64> {
        None
    }
    fn pid_namespace(&self) -> Option<u64> {
        None
    }
}

fn world() -> World {
    World {
        files: HashMap::from([
            (
                "/run/systemd/machines/web",
                &b"NAME=web\nCLASS=container\nLEADER=1\nUIDMAP=0:100000:65536\nGIDMAP=0:200000:10\n"[..],
            ),
            ("/run/systemd/machines/broken", &b"NAME=broken\nCLASS=container\nLEADER=1\nUIDMAP=0:0\n"[..]),
        ]),
        links: HashMap::from([
            ("/run/machined/uids/0001", "100000:65536:0:web;"),
            ("/run/machined/gids/0003", "200000:10:0:web;"),
            ("/run/machined/uids/0005", "330000:9:0:broken;"),
        ]),
        failing: None,
    }
}

fn ask_in(world: &World, query: &Query) -> Option<Result<(u32, String), Refusal>> {
    let source = Source { files: world, processes: world };
    source.find(query).map(|found| found.map(|found| (found.outside, found.name.to_string())))
}

fn ask(kind: IdKind, id: Option<u32>, name: Option<&str>) -> Option<Result<(u32, String), Refusal>> {
    ask_in(&world(), &query(kind, id, name))
}

fn query(kind: IdKind, id: Option<u32>, name: Option<&str>) -> Query {
    Query { kind, id, name: name.map(String::from), filter: Filter::default() }
}

#[test]
fn a_user_is_found_by_id_and_by_name_and_by_both() {
    let web = Some(Ok((100_005, "vu-web-5".to_owned())));
    assert_eq!(ask(IdKind::User, Some(100_005), None), web);
    assert_eq!(ask(IdKind::User, None, Some("vu-web-5")), web);
    assert_eq!(ask(IdKind::User, Some(100_005), Some("vu-web-5")), web);
    assert_eq!(ask(IdKind::Group, Some(200_009), None), Some(Ok((200_009, "vg-web-9".to_owned()))));
}

#[test]
fn an_id_of_somebody_else_conflicts_and_an_id_of_nobody_is_nobodys() {
    assert_eq!(ask(IdKind::User, Some(100_005), Some("vu-web-6")), Some(Err(Refusal::Conflict)));
    assert_eq!(ask(IdKind::User, Some(100_005), Some("root")), Some(Err(Refusal::Conflict)));
    assert_eq!(ask(IdKind::User, Some(5), Some("vu-web-5")), Some(Err(Refusal::NoRecord)));
    assert_eq!(ask(IdKind::User, Some(400_000), None), Some(Err(Refusal::NoRecord)));
    assert_eq!(ask(IdKind::Group, Some(100_005), None), Some(Err(Refusal::NoRecord)));
    assert_eq!(ask(IdKind::Group, None, Some("vu-web-5")), Some(Err(Refusal::NoRecord)));
}

#[test]
fn who_asks_for_nobody_in_particular_gets_no_one_record() {
    assert_eq!(ask(IdKind::User, None, None), None);
}

#[test]
fn a_record_that_is_not_like_what_was_asked_for_is_told_from_none() {
    let filter = Filter { containers: false, ..Filter::default() };
    let asked = |id| Query { filter: filter.clone(), ..query(IdKind::User, Some(id), None) };
    assert_eq!(ask_in(&world(), &asked(100_005)), Some(Err(Refusal::NonMatching)));
    assert_eq!(ask_in(&world(), &asked(400_000)), Some(Err(Refusal::NoRecord)));
}

#[test]
fn what_is_not_known_is_told_from_none() {
    let damaged = Some(Err(Refusal::Unknown(LookupError::Damaged)));
    assert_eq!(ask(IdKind::User, Some(330_000), None), damaged);
    assert_eq!(ask(IdKind::User, None, Some("vu-broken-0")), damaged);
    let failing = World { failing: Some(FileError::Errno(24)), ..world() };
    let unreadable = Some(Err(Refusal::Unknown(LookupError::Unreadable(24))));
    assert_eq!(ask_in(&failing, &query(IdKind::User, Some(100_000), None)), unreadable);
}
