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
