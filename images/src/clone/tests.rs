use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::discover::find;
use crate::progress::Progress;
use crate::scratch::Scratch;

const POOL: &str = "var/lib/machines";

fn cloned(scratch: &Scratch, name: &str, new: &str, read_only: bool) -> Result<()> {
    let places = scratch.places();
    let image = find(&places, &ImageName::new(name).unwrap())?;
    clone(&places, &image, &ImageName::new(new).unwrap(), read_only, &mut Teller::new(false, &mut |_| {}))
}

fn left(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path(POOL)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_of_a_tree_is_as_the_tree() {
    let scratch = Scratch::new("copy-tree");
    let source = "etc/machines/web";
    scratch.directory(POOL);
    scratch.file(&format!("{source}/etc/hostname"), "web\n");
    scratch.link(&format!("{source}/etc/link"), "../nowhere");
    scratch.directory(&format!("{source}/empty"));
    fs::hard_link(scratch.path(&format!("{source}/etc/hostname")), scratch.path(&format!("{source}/again")))
        .unwrap();
    let sparse = fs::File::create(scratch.path(&format!("{source}/sparse"))).unwrap();
    sparse.set_len(16 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (16 << 20) - 3).unwrap();
    for (path, mode) in [("etc/hostname", 0o640), ("empty", 0o1755), ("etc", 0o750), ("", 0o711)] {
        let path = scratch.path(&format!("{source}/{path}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500_000_000_123);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    let fifo = std::process::Command::new("mkfifo").arg(scratch.path(&format!("{source}/fifo"))).status();
    assert!(fifo.unwrap().success());
    let has_attributes = rustix::fs::setxattr(
        scratch.path(&format!("{source}/sparse")),
        "user.test",
        b"value",
        rustix::fs::XattrFlags::empty(),
    )
    .is_ok();
    cloned(&scratch, "web", "copy", false).unwrap();
    assert_eq!(left(&scratch), ["copy"]);
    let both = |path: &str| {
        [source, "var/lib/machines/copy"]
            .map(|root| scratch.path(&format!("{root}/{path}")).symlink_metadata().unwrap())
    };
    for path in ["", "etc", "etc/hostname", "etc/link", "empty", "again", "sparse", "fifo"] {
        let [one, other] = both(path);
        assert_eq!((one.mode(), one.uid(), one.gid()), (other.mode(), other.uid(), other.gid()), "{path}");
        if path != "fifo" {
            assert_eq!((one.mtime(), one.mtime_nsec()), (other.mtime(), other.mtime_nsec()), "{path}");
        }
        assert_eq!((one.len(), one.nlink()), (other.len(), other.nlink()), "{path}");
    }
    let copy = |path: &str| scratch.path(&format!("{POOL}/copy/{path}"));
    assert_eq!(fs::read(copy("etc/hostname")).unwrap(), b"web\n");
    assert_eq!(fs::read_link(copy("etc/link")).unwrap().to_str(), Some("../nowhere"));
    assert!(fs::read(copy("sparse")).unwrap().ends_with(b"\0end"));
    assert!(both("sparse")[1].blocks() < 1024, "a hole stays a hole");
    if has_attributes {
        let mut value = [0; 16];
        assert_eq!(rustix::fs::getxattr(copy("sparse"), "user.test", &mut value), Ok(5));
    }
}

#[test]
fn a_copy_of_a_disk_has_its_files_and_no_name_before_it_is_whole() {
    let scratch = Scratch::new("copy-disk");
    scratch.file("usr/lib/machines/disk.raw", "a disk");
    scratch.file("usr/lib/machines/disk.nspawn", "settings");
    scratch.directory("var/lib");
    cloned(&scratch, "disk", "one", false).unwrap();
    cloned(&scratch, "disk", "two", true).unwrap();
    assert_eq!(left(&scratch), ["one.nspawn", "one.raw", "two.nspawn", "two.raw"]);
    let mode = |name: &str| {
        scratch.path(&format!("{POOL}/{name}.raw")).metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("one"), mode("two")), (0o644, 0o444));
    assert_eq!(fs::read(scratch.path(&format!("{POOL}/two.raw"))).unwrap(), b"a disk");
    let pool = scratch.path(POOL).metadata().unwrap();
    assert_eq!(pool.permissions().mode() & 0o777, 0o700, "the pool was made");
}

#[test]
fn a_copy_takes_no_name_that_something_has_and_what_fails_leaves_nothing() {
    let scratch = Scratch::new("copy-refused");
    scratch.file(&format!("{POOL}/disk.raw"), "a disk");
    scratch.directory(&format!("{POOL}/tree"));
    scratch.directory(&format!("{POOL}/stack.mstack"));
    scratch.file(&format!("{POOL}/file"), "no image");
    for (name, new, errno) in [
        ("disk", "tree", Errno::EXIST),
        ("disk", "disk", Errno::EXIST),
        ("disk", ".host", Errno::BUSY),
        ("stack", "new", Errno::OPNOTSUPP),
        // No image has the name, but a file.
        ("tree", "file", Errno::EXIST),
    ] {
        assert_eq!(cloned(&scratch, name, new, false).unwrap_err().errno(), errno, "{name} {new}");
    }
    assert_eq!(left(&scratch), ["disk.raw", "file", "stack.mstack", "tree"]);
}

#[test]
fn a_copy_of_what_the_pool_is_in_does_not_hold_itself() {
    let scratch = Scratch::new("copy-host");
    scratch.file("file", "");
    scratch.directory("var/lib/machines/web");
    cloned(&scratch, ".host", "copy", false).unwrap();
    assert!(scratch.path("var/lib/machines/copy/file").exists());
    assert_eq!(
        fs::read_dir(scratch.path("var/lib/machines/copy/var/lib/machines")).unwrap().count(),
        1,
        "the other image, and not the copy"
    );
}

#[test]
fn a_copy_for_nobody_to_change_is_immutable() {
    let scratch = Scratch::new("copy-read-only");
    scratch.file(&format!("{POOL}/web/etc/hostname"), "web\n");
    match cloned(&scratch, "web", "copy", true) {
        Ok(()) => {
            let places = scratch.places();
            let copy = find(&places, &ImageName::new("copy").unwrap()).unwrap();
            assert!(copy.read_only);
            crate::change::remove(&places, &copy, &mut Teller::new(false, &mut |_| {})).unwrap();
        }
        Err(error) => {
            // Only root sets the flag, where the file system has it.
            println!("SKIPPED a_copy_for_nobody_to_change_is_immutable: {error}");
        }
    }
    assert!(!scratch.path(&format!("{POOL}/copy")).exists() || !rustix::process::geteuid().is_root());
}

#[test]
fn a_copy_and_a_removal_tell_how_far_they_are() {
    let scratch = Scratch::new("told");
    scratch.directory(POOL);
    scratch.file("etc/machines/web/etc/hostname", "web\n");
    scratch.file("etc/machines/web/data", "12345678");
    scratch.link("etc/machines/web/link", "data");
    scratch.file("etc/machines/disk.raw", "12345");
    let (places, name) = (scratch.places(), |name: &str| ImageName::new(name).unwrap());
    let told = |act: &dyn Fn(&mut Teller<'_>) -> Result<()>, counts| {
        let mut told = Vec::new();
        act(&mut Teller::new(counts, &mut |progress| told.push(progress))).unwrap();
        told
    };
    for (source, new, bytes, files) in [("web", "copy", 12, 3), ("disk", "other", 5, 1)] {
        let image = find(&places, &name(source)).unwrap();
        let copied = told(&|teller| clone(&places, &image, &name(new), false, teller), true);
        let total = Some((bytes, files));
        let (before, after) = (Progress { bytes: 0, files: 0, total }, Progress { bytes, files, total });
        assert_eq!((copied.first(), copied.last()), (Some(&before), Some(&after)), "{source}");
        let image = find(&places, &name(new)).unwrap();
        let removed = told(&|teller| crate::change::remove(&places, &image, teller), source == "web");
        let total = total.filter(|_| source == "web");
        assert_eq!(removed.last(), Some(&Progress { total, ..after }), "{source}");
        clone(
            &places,
            &find(&places, &name(source)).unwrap(),
            &name(new),
            false,
            &mut Teller::new(false, &mut |_| {}),
        )
        .unwrap();
        let image = find(&places, &name(new)).unwrap();
        let removed = told(&|teller| crate::change::remove(&places, &image, teller), false);
        assert_eq!(removed.last().map(|last| (last.files, last.total)), Some((files, None)), "{source}");
    }
}

#[test]
fn an_image_that_is_removed_while_it_is_copied_leaves_no_copy_of_a_part() {
    let scratch = Scratch::new("copy-removed");
    for number in 0..20 {
        scratch.file(&format!("{POOL}/web/{number}"), "file");
    }
    let (places, name) = (scratch.places(), |name: &str| ImageName::new(name).unwrap());
    let image = find(&places, &name("web")).unwrap();
    // Told when it is counted, before anything is copied.
    let mut tell = |progress: Progress| {
        if progress.files == 0 {
            crate::change::remove(&places, &image, &mut Teller::new(false, &mut |_| {})).unwrap();
        }
    };
    let copied = clone(&places, &image, &name("copy"), false, &mut Teller::new(true, &mut tell));
    assert_eq!(copied, Err(Error::NoSuchImage("web".to_owned())));
    assert_eq!(left(&scratch), [""; 0]);
}

#[test]
fn a_tree_is_copied_while_files_in_it_come_go_and_become_something_else() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let scratch = Scratch::new("copy-busy");
    scratch.file(&format!("{POOL}/web/kept"), "kept");
    scratch.file(&format!("{POOL}/web/file"), "file");
    let fifo = std::process::Command::new("mkfifo").arg(scratch.path(&format!("{POOL}/web/fifo"))).status();
    assert!(fifo.unwrap().success());
    let at = |name: &str| scratch.path(&format!("{POOL}/web/{name}"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::write(at("coming"), "x").unwrap();
                fs::create_dir(at("directory")).unwrap();
                std::os::unix::fs::symlink("kept", at("link")).unwrap();
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    at("file"),
                    rustix::fs::CWD,
                    at("fifo"),
                    exchange,
                );
                fs::remove_file(at("coming")).unwrap();
                fs::remove_dir(at("directory")).unwrap();
                fs::remove_file(at("link")).unwrap();
            }
        });
        let copies: Vec<_> =
            (0..200).map(|number| cloned(&scratch, "web", &format!("copy{number}"), false)).collect();
        is_over.store(true, Ordering::Relaxed);
        for (number, copied) in copies.into_iter().enumerate() {
            assert_eq!(copied, Ok(()), "{number}");
            assert_eq!(fs::read(scratch.path(&format!("{POOL}/copy{number}/kept"))).unwrap(), b"kept");
        }
    });
}
