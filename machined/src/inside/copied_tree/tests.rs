use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use images::Progress;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mymachines-copy-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn open(&self) -> OwnedFd {
        open_directory(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open_directory(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Copies one name to another in a directory; says the last that was told.
fn copy(scratch: &Scratch, replaces: bool, from: &str, to: &str) -> Result<Progress, Failure> {
    let directory = scratch.open();
    let mut last = Progress::default();
    let mut tell = |progress| last = progress;
    let mut teller = Teller::new(true, &mut tell);
    teller.count(directory.as_fd(), from.as_bytes(), ResolveFlags::empty());
    let done = Tree::new(None, replaces, &mut teller).copy(
        directory.as_fd(),
        from.as_bytes(),
        directory.as_fd(),
        to.as_bytes(),
    );
    teller.tell();
    done.map(|()| last)
}

#[test]
fn a_tree_is_copied_and_its_links_are_links_again() {
    let scratch = Scratch::new("tree");
    fs::create_dir_all(scratch.at("from/a/b")).unwrap();
    fs::write(scratch.at("from/a/b/one"), "one").unwrap();
    fs::hard_link(scratch.at("from/a/b/one"), scratch.at("from/two")).unwrap();
    symlink("nowhere", scratch.at("from/link")).unwrap();
    let told = copy(&scratch, false, "from", "to").unwrap();
    assert_eq!(fs::read(scratch.at("to/two")).unwrap(), b"one");
    let inode = |path| fs::metadata(scratch.at(path)).unwrap().ino();
    assert_eq!(inode("to/two"), inode("to/a/b/one"));
    assert_ne!(inode("to/two"), inode("from/two"));
    assert_eq!(fs::read_link(scratch.at("to/link")).unwrap(), Path::new("nowhere"));
    assert_eq!(told, Progress { bytes: 6, files: 3, total: Some((6, 3)) });
}

#[test]
fn a_tree_may_be_copied_into_itself() {
    let scratch = Scratch::new("itself");
    fs::create_dir_all(scratch.at("from/a")).unwrap();
    fs::write(scratch.at("from/a/one"), "one").unwrap();
    fs::create_dir(scratch.at("from/to")).unwrap();
    let (from, to) = (scratch.open(), open_directory(&scratch.at("from/to")));
    let mut tell = |_| {};
    let mut teller = Teller::new(false, &mut tell);
    Tree::new(None, false, &mut teller).copy(from.as_fd(), b"from", to.as_fd(), b"copy").unwrap();
    assert!(scratch.at("from/to/copy/a/one").exists());
    assert!(!scratch.at("from/to/copy/to/copy").exists());
}

#[test]
fn what_fails_is_named_and_the_rest_is_copied() {
    let scratch = Scratch::new("fails");
    fs::create_dir_all(scratch.at("from/a/below")).unwrap();
    fs::write(scratch.at("from/other"), "other").unwrap();
    fs::create_dir(scratch.at("to")).unwrap();
    fs::create_dir(scratch.at("to/a")).unwrap();
    fs::write(scratch.at("to/a/below"), "a file").unwrap();
    let failure = copy(&scratch, true, "from", "to").unwrap_err();
    assert_eq!(failure, Failure::at(Errno::NOTDIR, "to/a/below"));
    assert_eq!(fs::read(scratch.at("to/other")).unwrap(), b"other");
    assert_eq!(copy(&scratch, false, "missing", "x").unwrap_err(), Failure::at(Errno::NOENT, "missing"));
}

#[test]
fn a_file_that_took_the_place_of_a_copy_is_not_linked_to() {
    let scratch = Scratch::new("swapped");
    fs::create_dir(scratch.at("from")).unwrap();
    fs::write(scratch.at("from/one"), "one").unwrap();
    fs::hard_link(scratch.at("from/one"), scratch.at("from/two")).unwrap();
    fs::create_dir_all(scratch.at("to/outside")).unwrap();
    fs::write(scratch.at("secret"), "secret").unwrap();
    let mut tell = |_| {};
    let mut teller = Teller::new(false, &mut tell);
    let mut tree = Tree::new(None, false, &mut teller);
    let (from, to) = (open_directory(&scratch.at("from")), open_directory(&scratch.at("to")));
    let stat = fstat(&to).unwrap();
    tree.top = Some((open_directory(&scratch.at("to")), (stat.st_dev, stat.st_ino)));
    let entry = |directory, name| Entry { directory, name };
    assert!(tree.entry(entry(from.as_fd(), b"one"), entry(to.as_fd(), b"one"), &[]).unwrap().is_none());
    assert_eq!(tree.links.len(), 1);
    // The container has put a link to a file of the host there meanwhile.
    fs::remove_file(scratch.at("to/one")).unwrap();
    symlink(scratch.at("secret"), scratch.at("to/one")).unwrap();
    assert!(tree.entry(entry(from.as_fd(), b"two"), entry(to.as_fd(), b"two"), &[]).unwrap().is_none());
    assert_eq!(fs::read(scratch.at("to/two")).unwrap(), b"one");
    assert_eq!(fs::metadata(scratch.at("secret")).unwrap().nlink(), 1);
}

#[test]
fn what_is_replaced_leaves_nothing_behind() {
    let scratch = Scratch::new("replaced");
    fs::write(scratch.at("from"), "new").unwrap();
    fs::write(scratch.at("to"), "old").unwrap();
    assert_eq!(copy(&scratch, false, "from", "to").unwrap_err().errno, Errno::EXIST);
    assert_eq!(fs::read(scratch.at("to")).unwrap(), b"old");
    copy(&scratch, true, "from", "to").unwrap();
    assert_eq!(fs::read(scratch.at("to")).unwrap(), b"new");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
}

/// What a process had been making that is gone, and what another one makes.
fn left_over(directory: &Path) -> (PathBuf, PathBuf) {
    let gone = directory.join(".#mymachines.copy.1.1");
    let of_another = directory.join(format!(".#mymachines.copy.1.{}", began_of(1)));
    fs::write(&gone, "half").unwrap();
    fs::write(&of_another, "half").unwrap();
    (gone, of_another)
}

fn began_of(pid: i32) -> u64 {
    registry::start_time_of_stat(&fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap()
}

#[test]
fn what_a_killed_copy_has_left_goes_with_the_next_and_what_is_being_made_stays() {
    let scratch = Scratch::new("left-over");
    fs::create_dir_all(scratch.at("from/below")).unwrap();
    fs::create_dir_all(scratch.at("to/below")).unwrap();
    fs::write(scratch.at("from/below/large"), vec![1; 100_000]).unwrap();
    fs::write(scratch.at("to/below/.#mymachines.copy.mine"), "no name of ours").unwrap();
    let below = scratch.at("to/below");
    for replaces in [false, true] {
        let (gone, of_another) = left_over(&below);
        copy(&scratch, replaces, "from", "to").unwrap();
        assert!(!gone.exists());
        assert!(of_another.exists());
        fs::write(scratch.at("from/below/small"), "new").unwrap();
        let (gone, _) = left_over(&below);
        copy_into(&scratch, &below, "from/below", "small");
        assert!(!gone.exists());
        fs::remove_file(below.join("large")).unwrap();
    }
    assert!(scratch.at("to/below/.#mymachines.copy.mine").exists());
}

/// Replaces a file of a directory.
fn copy_into(scratch: &Scratch, directory: &Path, from: &str, name: &str) {
    let (from, to) = (open_directory(&scratch.at(from)), open_directory(directory));
    let mut tell = |_| {};
    let mut teller = Teller::new(false, &mut tell);
    Tree::new(None, true, &mut teller)
        .copy(from.as_fd(), name.as_bytes(), to.as_fd(), name.as_bytes())
        .unwrap();
}

#[test]
fn a_file_has_its_name_when_it_is_whole() {
    let scratch = Scratch::new("whole");
    let large = fs::File::create(scratch.at("from")).unwrap();
    large.set_len(3 << 30).unwrap();
    let directory = scratch.open();
    let mut tell = |_| {};
    let mut teller = Teller::new(false, &mut tell);
    let target = Entry { directory: directory.as_fd(), name: b"to" };
    let half = crate::inside::staged::place(
        target,
        b".#mymachines.copy.1.2",
        false,
        Way::Staged,
        |name| {
            fs::write(scratch.at(std::str::from_utf8(name).unwrap()), "half").unwrap();
            assert!(!scratch.at("to").exists());
            Err(Errno::NOSPC)
        },
        |_| Ok(()),
    );
    assert_eq!(half, Err(Errno::NOSPC));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    Tree::new(None, false, &mut teller).copy(directory.as_fd(), b"from", directory.as_fd(), b"to").unwrap();
    assert_eq!(fs::metadata(scratch.at("to")).unwrap().len(), 3 << 30);
    assert_eq!(fs::metadata(scratch.at("to")).unwrap().blocks(), 0);
    for replaces in [false, true] {
        let again = copy(&scratch, replaces, "from", "to").map(drop).map_err(|failure| failure.errno);
        assert_eq!(again, if replaces { Ok(()) } else { Err(Errno::EXIST) });
    }
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
}

#[test]
fn what_took_the_place_of_a_fifo_or_a_link_keeps_its_owner() {
    let scratch = Scratch::new("special");
    fs::write(scratch.at("file"), "the host's").unwrap();
    fs::hard_link(scratch.at("file"), scratch.at("other")).unwrap();
    rustix::fs::mknodat(scratch.open(), "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::hard_link(scratch.at("fifo"), scratch.at("linked")).unwrap();
    symlink("nowhere", scratch.at("link")).unwrap();
    let directory = scratch.open();
    let before = fs::symlink_metadata(scratch.at("file")).unwrap();
    let mut stat = fstat(&directory).unwrap();
    stat.st_mode = 0o777;
    let ids = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
    let finish = |name: &str, kind| {
        finish_special(Entry { directory: directory.as_fd(), name: name.as_bytes() }, kind, ids, &stat)
    };
    for (name, kind) in [
        ("file", FileType::Fifo),
        ("file", FileType::Symlink),
        ("linked", FileType::Fifo),
        ("link", FileType::Fifo),
        ("fifo", FileType::Symlink),
    ] {
        assert_eq!(finish(name, kind), Err(Errno::STALE), "{name}");
    }
    let after = fs::symlink_metadata(scratch.at("file")).unwrap();
    let all = |of: &fs::Metadata| (of.mode(), of.ctime(), of.ctime_nsec(), of.mtime_nsec());
    assert_eq!(all(&before), all(&after));
    fs::remove_file(scratch.at("linked")).unwrap();
    assert_eq!(finish("fifo", FileType::Fifo), Ok(()));
    assert_eq!(fs::metadata(scratch.at("fifo")).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(finish("link", FileType::Symlink), Ok(()));
}

#[test]
fn no_more_is_remembered_of_links_than_there_is_room_for() {
    let scratch = Scratch::new("room");
    fs::create_dir(scratch.at("from")).unwrap();
    fs::create_dir(scratch.at("to")).unwrap();
    fs::write(scratch.at("from/one"), "one").unwrap();
    fs::hard_link(scratch.at("from/one"), scratch.at("from/two")).unwrap();
    let mut tell = |_| {};
    let mut teller = Teller::new(false, &mut tell);
    let mut tree = Tree::new(None, false, &mut teller);
    let (from, to) = (open_directory(&scratch.at("from")), open_directory(&scratch.at("to")));
    let stat = fstat(&to).unwrap();
    tree.top = Some((open_directory(&scratch.at("to")), (stat.st_dev, stat.st_ino)));
    tree.links_length = LINKS_LENGTH - 2;
    for name in [&b"one"[..], b"two"] {
        let entry = |directory| Entry { directory, name };
        assert!(tree.entry(entry(from.as_fd()), entry(to.as_fd()), &[]).unwrap().is_none());
    }
    assert!(tree.links.is_empty());
    assert_eq!(fs::read(scratch.at("to/two")).unwrap(), b"one");
}
