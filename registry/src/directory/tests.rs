use super::*;
use crate::Class;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("registry-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> MachineName {
    MachineName::new(text.as_bytes()).unwrap()
}

#[test]
fn what_is_written_is_read_and_listed() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0.join("run/systemd/machines")).unwrap();
    let mut record = Record::new(name("web.old"), Class::Container);
    directory.write(&record).unwrap();
    record.service = Some("changed".into());
    directory.write(&record).unwrap();
    directory.link_unit("machine-web.scope", &record.name).unwrap();
    assert_eq!(directory.read(&record.name).unwrap(), record);
    let names = directory.names().unwrap();
    assert_eq!(names.machines, [record.name]);
    assert_eq!(directory.unit_links().unwrap(), [("machine-web.scope".into(), "web.old".into())]);
    assert_eq!(directory.links().unwrap(), [("unit:machine-web.scope".into(), "web.old".into())]);
    assert!(names.temporary.is_empty());
    directory.remove(&record.name).unwrap();
    directory.remove(&record.name).unwrap();
    assert!(matches!(directory.read(&record.name), Err(Error::NoSuchMachine(_))));
}

#[test]
fn an_interrupted_write_is_seen_and_does_not_stop_the_next() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    std::fs::write(scratch.0.join(".#web"), "CLASS=cont").unwrap();
    assert_eq!(directory.names().unwrap().temporary, [".#web"]);
    directory.write(&Record::new(name("web"), Class::Vm)).unwrap();
    assert!(directory.names().unwrap().temporary.is_empty());
}

#[test]
fn what_is_no_file_is_no_record_and_blocks_nobody() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    std::fs::create_dir(scratch.0.join("dir")).unwrap();
    std::os::unix::fs::symlink("web", scratch.0.join("web")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.0.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(directory.names().unwrap().machines.is_empty());
    assert!(matches!(directory.read(&name("dir")), Err(Error::Damaged { .. })));
    assert!(matches!(directory.read(&name("fifo")), Err(Error::Damaged { .. })));
    assert!(matches!(directory.read(&name("web")), Err(Error::NoSuchMachine(_))));
}

#[test]
fn a_link_moves_to_another_target() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    directory.link("0a000001", "a").unwrap();
    directory.link("0a000001", "a").unwrap();
    directory.link("0a000001", "b").unwrap();
    assert_eq!(directory.links().unwrap(), [("0a000001".into(), "b".into())]);
    directory.unlink("0a000001").unwrap();
    assert!(directory.links().unwrap().is_empty());
}

#[test]
fn the_longest_link_of_a_unit_moves_as_well() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    let unit = "x".repeat(UNIT_MAX);
    for machine in ["web", "db"] {
        directory.link_unit(&unit, &name(machine)).unwrap();
        assert_eq!(directory.unit_links().unwrap(), [(unit.clone(), machine.into())]);
    }
}

#[test]
fn a_record_that_no_reader_would_take_is_not_written() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    let mut record = Record::new(name("web"), Class::Vm);
    directory.write(&record).unwrap();
    record.service = Some("x".repeat(RECORD_MAX));
    assert!(matches!(directory.write(&record), Err(Error::Io { .. })));
    assert_eq!(directory.read(&record.name).unwrap().service, None);
    assert!(directory.names().unwrap().temporary.is_empty());
}

#[test]
fn a_directory_is_locked_by_one_at_a_time() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    directory.lock().unwrap();
    let other = Directory::open(&scratch.0).unwrap();
    assert!(matches!(other.lock(), Err(Error::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock));
    drop(directory);
    other.lock().unwrap();
}

#[test]
fn text_is_put_into_a_link_or_where_that_is_too_short_into_a_file() {
    let scratch = Scratch::new();
    let directory = Directory::create(&scratch.0).unwrap();
    let path = scratch.0.join("0001");
    let long = "x".repeat(LIST_LINK_MAX + 1);
    for text in ["short", &long, &long, "short again", &long[1..], &long, "short"] {
        directory.put("0001", text).unwrap();
        let link = std::fs::read_link(&path).map(|target| target.into_os_string().into_string().unwrap());
        assert_eq!(link.or_else(|_| std::fs::read_to_string(&path)).unwrap(), text);
        assert_eq!(directory.entries().unwrap(), ["0001"], "nothing is left over");
    }
    std::fs::write(scratch.0.join(".#0001"), "cut").unwrap();
    directory.put("0001", &long).unwrap();
    assert_eq!(directory.entries().unwrap(), ["0001"]);
    directory.unlink("0001").unwrap();
    assert!(directory.entries().unwrap().is_empty());
}
