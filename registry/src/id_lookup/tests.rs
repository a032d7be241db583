use super::*;
use crate::{OpenError, Path};
use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// A registry in memory, with its processes: each lives unless it is 9. The pidfd of one above 100 has its id times 10.
#[derive(Default)]
struct World {
    files: HashMap<String, Vec<u8>>,
    links: HashMap<String, String>,
    failing: Option<FileError>,
    /// So many times a list is a file when it is read as a link, and a link when it is opened.
    turning: core::cell::Cell<u32>,
}

fn text(path: &Path) -> String {
    path.as_c_str().to_str().unwrap().to_string()
}

impl Files for World {
    type File = (Vec<u8>, core::cell::Cell<usize>);
    fn open(&self, path: &Path) -> Result<Self::File, FileError> {
        self.failing.map_or(Ok(()), Err)?;
        self.files.get(&text(path)).cloned().map(|bytes| (bytes, 0.into())).ok_or(FileError::Absent)
    }
    fn read<'a>(&self, (bytes, at): &Self::File, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let rest = &bytes[at.get()..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        at.set(at.get() + length);
        Ok(&buffer[..length])
    }
    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        self.failing.map_or(Ok(()), Err)?;
        if let Some(rest) = self.turning.get().checked_sub(1).filter(|_| text(path).contains("/uids/")) {
            self.turning.set(rest);
            return Err(FileError::OtherKind);
        }
        let Some(target) = self.links.get(&text(path)) else {
            let is_file = self.files.contains_key(&text(path));
            return Err(if is_file { FileError::OtherKind } else { FileError::Absent });
        };
        let length = target.len().min(buffer.len());
        buffer[..length].copy_from_slice(&target.as_bytes()[..length]);
        Ok(&buffer[..length])
    }
}

impl Processes for World {
    type Handle = i32;
    fn open(&self, pid: i32) -> Result<i32, OpenError> {
        if pid == 9 { Err(OpenError::Gone) } else { Ok(pid) }
    }
    fn inode(&self, pid: &i32) -> Option<u64> {
        u64::try_from(*pid).ok().filter(|&pid| pid > 100).map(|pid| pid * 10)
    }
    fn has_exited(&self, _: &i32) -> bool {
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

const DEAD: &str = "LEADER=9";
const ALIVE: &str = "LEADER=1";

impl World {
    fn record(mut self, name: &str, leader: &str, map: &str) -> Self {
        let record = format!("NAME={name}\nCLASS=container\n{leader}\nUIDMAP=\"{map}\"\nGIDMAP=\"{map}\"\n");
        self.files.insert(format!("/run/systemd/machines/{name}"), record.into());
        self
    }
    fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(format!("/run/machined/{path}"), target.into());
        self
    }
    fn by_id(&self, id: u32) -> Option<String> {
        let user = match mapped_id_by_id(self, self, IdKind::User, id) {
            Err(LookupError::Shared) => return Some("shared".into()),
            user => user.unwrap(),
        };
        let group = mapped_id_by_id(self, self, IdKind::Group, id).unwrap();
        if let Some(user) = user {
            assert_eq!(user.outside, id);
            assert_eq!(self.by_name(user.name.as_str()), Some(id), "the name leads back");
        }
        assert!(group.is_none(), "there are no gids here");
        user.map(|user| user.name.to_string())
    }
    fn by_name(&self, name: &str) -> Option<u32> {
        let user = mapped_id_by_name(self, self, IdKind::User, name.as_bytes()).unwrap();
        user.map(|user| {
            assert_eq!(user.name.as_str(), name);
            user.outside
        })
    }
}

#[test]
fn a_machine_that_is_a_users_alone_has_no_users_and_groups() {
    for (owner, name) in
        [("UID=1000", None), ("UID=1000\nPUBLIC=1", Some("vu-web-0")), ("UID=0", Some("vu-web-0"))]
    {
        let leader = format!("{owner}\n{ALIVE}");
        let world = World::default()
            .record("web", &leader, "0:100000:65536")
            .link("uids/0001", "100000:65536:0:web;");
        assert_eq!(world.by_id(100_000).as_deref(), name, "{owner}");
        assert_eq!(world.by_name("vu-web-0"), name.map(|_| 100_000), "{owner}");
    }
}

#[test]
fn a_list_that_becomes_a_link_while_it_is_read_is_found() {
    let world =
        World::default().record("web", ALIVE, "0:100000:65536").link("uids/0001", "100000:65536:0:web;");
    for times in 0..4 {
        world.turning.set(times);
        assert_eq!(world.by_id(100_000).as_deref(), Some("vu-web-0"), "{times}");
    }
    world.turning.set(u32::MAX);
    assert_eq!(mapped_id_by_id(&world, &world, IdKind::User, 100_000), Ok(None), "it ends");
}

#[test]
fn an_id_has_a_name_which_leads_back() {
    let world = World::default()
        .record("web", ALIVE, "0:100000:65536")
        .link("uids/0001", "100000:65536:0:web;")
        .link("uids/0002", "100000:65536:0:web;");
    assert_eq!(world.by_id(100_000).as_deref(), Some("vu-web-0"));
    assert_eq!(world.by_id(131_072).as_deref(), Some("vu-web-31072"));
    assert_eq!(world.by_id(165_534).as_deref(), Some("vu-web-65534"));
    assert_eq!(world.by_id(165_535), None, "65535 inside is nobody");
    assert_eq!(world.by_id(165_536), None);
    assert_eq!(world.by_id(99_999), None);
    let found = mapped_id_by_id(&world, &world, IdKind::User, 100_001).unwrap().unwrap();
    assert_eq!((found.machine.as_str(), found.inside), ("web", 1));
    assert_eq!(world.by_name("vu-web-65535"), None);
    assert_eq!(world.by_name("vu-web-65536"), None);
    assert_eq!(world.by_name("vu-db-0"), None);
    let group = mapped_id_by_name(&world, &world, IdKind::Group, b"vg-web-7").unwrap().unwrap();
    assert_eq!((group.outside, group.name.as_str()), (100_007, "vg-web-7"));
}

#[test]
fn ids_of_the_host_are_nobodys() {
    let world = World::default()
        .record("rootless", ALIVE, "0:1000:1 1:100000:65535")
        .record("privileged", ALIVE, "0:0:4294967295")
        .link("uids/0000", "0:4294967295:0:privileged;1000:1:0:rootless;")
        .link("uids/0001", "0:4294967295:0:privileged;100000:65535:1:rootless;")
        .link("uids/ffff", "0:4294967295:0:privileged;");
    for id in [0, 1000, 65_535, u32::MAX, u32::MAX - 1] {
        assert_eq!(world.by_id(id), None, "{id}");
    }
    assert_eq!(world.by_id(100_000).as_deref(), Some("vu-rootless-1"));
    for name in ["vu-rootless-0", "vu-privileged-0", "vu-privileged-1000", "vu-privileged-100000"] {
        assert_eq!(world.by_name(name), None, "{name}");
    }
}

#[test]
fn an_id_that_two_living_machines_have_is_nobodys() {
    let list = "100000:65536:0:a;120000:10:0:b;";
    let world = World::default()
        .record("a", ALIVE, "0:100000:65536")
        .record("b", ALIVE, "0:120000:10")
        .link("uids/0001", list);
    assert_eq!(world.by_id(119_999).as_deref(), Some("vu-a-19999"));
    assert_eq!(world.by_id(120_000).as_deref(), Some("shared"));
    assert_eq!(world.by_id(120_010).as_deref(), Some("vu-a-20010"));
    assert_eq!((world.by_name("vu-a-20000"), world.by_name("vu-b-0")), (Some(120_000), Some(120_000)));
    let world = world.record("a", DEAD, "0:100000:65536");
    assert_eq!(world.by_id(120_000).as_deref(), Some("vu-b-0"), "one of them is dead");
    assert_eq!(world.by_id(119_999), None);
}

#[test]
fn the_record_decides_and_not_the_index() {
    let world = World::default()
        .record("web", ALIVE, "0:200000:10")
        .link("uids/0001", "100000:65536:0:web;100000:1:0:gone;")
        .link("uids/0003", "200000:10:7:web;");
    assert_eq!(world.by_id(100_000), None);
    assert_eq!(world.by_id(200_003).as_deref(), Some("vu-web-3"), "whatever the index says of the id inside");
}

#[test]
fn an_entry_with_a_leader_that_runs_answers_for_the_record() {
    // Each record says something else than the entry, so that it is seen which of them answered.
    let world = World::default()
        .record("web", "LEADER=101", "7:100000:10")
        .link("uids/0001", "100000:10:3:web:101:1010;100020:10:0:web:101:1010;");
    let inside = |world: &World, id| {
        mapped_id_by_id(world, world, IdKind::User, id).map(|found| found.map(|found| found.inside))
    };
    assert_eq!(inside(&world, 100_000), Ok(Some(3)));
    assert_eq!(inside(&world, 100_020), Ok(Some(0)));
    for (doubtful, why) in [
        ("web:9:90", "it is gone"),
        ("web:101:1011", "it is another process"),
        ("web:99:990", "its pidfd has no identity"),
        ("web:0:0", "it is none"),
        ("web", "it is not named"),
    ] {
        let world = World::default()
            .record("web", "LEADER=101", "7:100000:10")
            .link("uids/0001", &format!("100000:10:3:{doubtful};"));
        assert_eq!(inside(&world, 100_000), Ok(Some(7)), "the record decides where {why}");
    }
    let rules = World::default()
        .record("m", "LEADER=101", "")
        .link("uids/0001", "0:4294967295:0:m:101:1010;")
        .link("uids/0002", "131072:65536:0:m:101:1010;");
    assert_eq!(inside(&rules, 100_000), Ok(None), "an identity map");
    assert_eq!(inside(&rules, 131_072 + 65_535), Ok(None), "65535 inside is nobody");
    assert_eq!(inside(&rules, 131_072 + 65_534), Ok(Some(65_534)));
}

#[test]
fn an_id_that_two_entries_with_leaders_have_is_nobodys() {
    let world = World::default()
        .record("a", "LEADER=101", "0:100000:65536")
        .record("b", "LEADER=102", "0:120000:10")
        .link("uids/0001", "100000:65536:0:a:101:1010;120000:10:0:b:102:1020;");
    assert_eq!(world.by_id(119_999).as_deref(), Some("vu-a-19999"));
    assert_eq!(world.by_id(120_000).as_deref(), Some("shared"));
    let mixed = world.link("uids/0001", "100000:65536:0:a:101:1010;120000:10:0:b;");
    assert_eq!(mixed.by_id(120_000).as_deref(), Some("shared"));
}

#[test]
fn maps_of_many_lines_are_searched_in_their_order() {
    let world = World::default()
        .record("m", ALIVE, "0:100000:10 10:300000:10 5:500000:2")
        .link("uids/0001", "100000:10:0:m;")
        .link("uids/0004", "300000:10:10:m;");
    assert_eq!(world.by_id(300_009).as_deref(), Some("vu-m-19"));
    assert_eq!(world.by_name("vu-m-5"), Some(100_005));
    assert_eq!(world.by_name("vu-m-20"), None);
}

#[test]
fn a_name_that_makes_no_user_name_has_an_alias_both_ways() {
    let world = World::default()
        .record("a.b", ALIVE, "0:100000:65536")
        .record("a-name-of-twenty-six-bytes", ALIVE, "0:200000:60000")
        .link("uids/0001", "100000:65536:0:a.b;")
        .link("uids/0003", "200000:60000:0:a-name-of-twenty-six-bytes;");
    assert_eq!(world.by_id(100_000), None, "without the link there is no way back");
    let dotted = Alias::of(&MachineName::new(b"a.b").unwrap()).to_string();
    let long = Alias::of(&MachineName::new(b"a-name-of-twenty-six-bytes").unwrap()).to_string();
    let world = world
        .link(&format!("aliases/{dotted}"), "a.b")
        .link(&format!("aliases/{long}"), "a-name-of-twenty-six-bytes");
    assert_eq!(world.by_id(100_000), Some(format!("vu-{dotted}-0")));
    assert_eq!(world.by_id(200_009).as_deref(), Some("vu-a-name-of-twenty-six-bytes-9"));
    assert_eq!(world.by_id(200_010), Some(format!("vu-{long}-10")));
    assert_eq!(world.by_name(&format!("vu-{long}-9")), None, "one name for each id");
    assert_eq!(world.by_name("vu-00000000-0"), None);
}

#[test]
fn an_alias_of_another_machine_or_of_none_is_no_alias() {
    let alias = Alias::of(&MachineName::new(b"a.b").unwrap()).to_string();
    let world = World::default()
        .record("a.b", ALIVE, "0:100000:65536")
        .record("c.d", ALIVE, "0:200000:65536")
        .link("uids/0001", "100000:65536:0:a.b;");
    for target in ["c.d", "a_b", "", "/etc/passwd", "gone.x"] {
        let world = World { files: world.files.clone(), links: world.links.clone(), ..World::default() }
            .link(&format!("aliases/{alias}"), target);
        assert_eq!(world.by_name(&format!("vu-{alias}-0")), None, "{target}");
        assert_eq!(world.by_id(100_000), None, "{target}");
    }
    // A machine that has the alias for a name has the users of that name.
    let world = world.link(&format!("aliases/{alias}"), "a.b").record(&alias, ALIVE, "0:400000:10");
    assert_eq!(world.by_name(&format!("vu-{alias}-3")), Some(400_003));
}

#[test]
fn wide_ranges_are_found_where_no_page_is() {
    let world = World::default()
        .record("wide", ALIVE, "0:1000000:3000000000")
        .record("web", ALIVE, "0:2000000:10")
        .link("uids/wide", "1000000:3000000000:0:wide;")
        .link("uids/001e", "2000000:10:0:web;1000000:3000000000:0:wide;");
    assert_eq!(world.by_id(1_000_000).as_deref(), Some("vu-wide-0"));
    assert_eq!(world.by_id(3_000_999_999).as_deref(), Some("vu-wide-2999999999"));
    assert_eq!(world.by_id(3_001_000_000), None);
    assert_eq!(world.by_id(2_000_000), Some("shared".into()), "both have it");
    assert_eq!(world.by_id(2_000_010).as_deref(), Some("vu-wide-1000010"));
}

#[test]
fn a_list_that_is_too_long_for_a_link_is_a_file() {
    let mut world = World::default();
    let mut list = String::new();
    for machine in 0..300_u32 {
        let first = 0x10_0000 + machine * 200;
        world = world.record(&format!("machine-{machine}"), ALIVE, &format!("0:{first}:200"));
        list += &format!("{first}:200:0:machine-{machine};");
    }
    world.files.insert("/run/machined/uids/0010".into(), list.into());
    for machine in [0, 1, 150, 299] {
        let id = 0x10_0000 + machine * 200 + 199;
        assert_eq!(world.by_id(id), Some(format!("vu-machine-{machine}-199")));
    }
    assert_eq!(world.by_id(0x10_0000 + 300 * 200), None);
}

#[test]
fn what_is_no_container_or_dead_or_without_maps_has_no_users() {
    let world = World::default().record("web", DEAD, "0:100000:65536").record("empty", ALIVE, "");
    let mut world = world.link("uids/0001", "100000:65536:0:web;100000:65536:0:empty;100000:65536:0:vm;");
    let vm = "CLASS=vm\nLEADER=1\nUIDMAP=0:100000:65536\nGIDMAP=0:100000:65536\n";
    world.files.insert("/run/systemd/machines/vm".into(), vm.into());
    assert_eq!(world.by_id(100_000), None);
    for name in ["vu-web-0", "vu-empty-0", "vu-vm-0"] {
        assert_eq!(world.by_name(name), None, "{name}");
    }
}

#[test]
fn what_cannot_be_known_is_told() {
    let mut world = World::default().link("uids/0001", "100000:65536:0:web;");
    world.files.insert(
        "/run/systemd/machines/web".into(),
        b"CLASS=container\nLEADER=1\nUIDMAP=0:100000:65536".into(),
    );
    assert_eq!(mapped_id_by_id(&world, &world, IdKind::User, 100_000), Err(LookupError::Damaged));
    assert_eq!(mapped_id_by_name(&world, &world, IdKind::User, b"vu-web-0"), Err(LookupError::Damaged));
    assert_eq!(world.by_id(65_535), None);
    world.failing = Some(FileError::Errno(24));
    assert_eq!(mapped_id_by_id(&world, &world, IdKind::User, 100_000), Err(LookupError::Unreadable(24)));
    assert_eq!(
        mapped_id_by_name(&world, &world, IdKind::Group, b"vg-web-0"),
        Err(LookupError::Unreadable(24))
    );
    assert_eq!(world.by_id(65_535), None, "nothing is read for the host's own ids");
    assert_eq!(world.by_name("vg-web-0"), None, "nor for other names");
    assert_eq!(world.by_name("root"), None);
}
