use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::scratch::Scratch;
use crate::tidy::tidy;

const POOL: &str = "var/lib/machines";

fn image(scratch: &Scratch, name: &str) -> Image {
    find(&scratch.places(), &ImageName::new(name).unwrap()).unwrap()
}

fn named(name: &str) -> ImageName {
    ImageName::new(name).unwrap()
}

fn left(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path(POOL)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn remove(places: &Places, image: &Image) -> Result<()> {
    super::remove(places, image, &mut Teller::new(false, &mut |_| {}))
}

#[test]
fn an_image_is_removed_with_all_that_belongs_to_it_and_nothing_else() {
    let scratch = Scratch::new("remove");
    scratch.file(&format!("{POOL}/web/usr/bin/x"), "");
    scratch.file("elsewhere/kept", "");
    scratch.link(&format!("{POOL}/web/out"), &scratch.text("elsewhere"));
    scratch.file(&format!("{POOL}/web.nspawn"), "");
    scratch.file(&format!("{POOL}/web.roothash"), "");
    scratch.file(&format!("{POOL}/website.nspawn"), "");
    scratch.file("etc/systemd/nspawn/web.nspawn", "");
    fs::set_permissions(scratch.path(&format!("{POOL}/web/usr/bin")), fs::Permissions::from_mode(0o700))
        .unwrap();
    remove(&scratch.places(), &image(&scratch, "web")).unwrap();
    assert_eq!(left(&scratch), ["website.nspawn"]);
    assert!(scratch.path("elsewhere/kept").exists());
    assert!(!scratch.path("etc/systemd/nspawn/web.nspawn").exists());
}

#[test]
fn a_tree_of_any_depth_is_removed() {
    let scratch = Scratch::new("deep");
    scratch.directory(&format!("{POOL}/web"));
    let mut at =
        fs::File::open(scratch.path(&format!("{POOL}/web"))).map(std::os::fd::OwnedFd::from).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
    }
    drop(at);
    remove(&scratch.places(), &image(&scratch, "web")).unwrap();
    assert_eq!(left(&scratch), [""; 0]);
}

#[test]
fn of_an_image_that_is_a_link_only_the_link_is_removed() {
    let scratch = Scratch::new("remove-link");
    scratch.file("elsewhere/tree/kept", "");
    scratch.file("elsewhere/disk", "");
    scratch.link(&format!("{POOL}/tree"), "../../../elsewhere/tree");
    scratch.link(&format!("{POOL}/disk.raw"), "../../../elsewhere/disk");
    for name in ["tree", "disk"] {
        remove(&scratch.places(), &image(&scratch, name)).unwrap();
    }
    assert_eq!(left(&scratch), [""; 0]);
    assert!(scratch.path("elsewhere/tree/kept").exists() && scratch.path("elsewhere/disk").exists());
}

#[test]
fn what_is_the_hosts_or_in_use_is_not_changed() {
    let scratch = Scratch::new("refused");
    scratch.directory("usr/lib/machines/vendors");
    scratch.directory(&format!("{POOL}/web"));
    let places = scratch.places();
    for name in ["vendors", ".host"] {
        let image = image(&scratch, name);
        let refused = Err(Error::Immutable(name.to_owned()));
        assert_eq!(remove(&places, &image), refused);
        assert_eq!(rename(&places, &image, &named("other")), refused);
        assert_eq!(set_read_only(&places, &image, false), refused);
        assert_eq!(set_limit(&image, None), refused);
    }
    let web = image(&scratch, "web");
    assert_eq!(set_limit(&web, None).unwrap_err().errno(), Errno::OPNOTSUPP);
    let lock = PathLock::take(&places, &web.path, Sharing::Shared).unwrap();
    for refused in
        [remove(&places, &web), rename(&places, &web, &named("other")), set_read_only(&places, &web, true)]
    {
        assert_eq!(refused.unwrap_err().errno(), Errno::BUSY);
    }
    drop(lock);
    assert_eq!(left(&scratch), ["web"]);
}

#[test]
fn an_image_is_renamed_with_its_files_unless_the_name_is_taken() {
    let scratch = Scratch::new("rename");
    scratch.file(&format!("{POOL}/web.raw"), "disk");
    scratch.file(&format!("{POOL}/web.nspawn"), "settings");
    scratch.directory(&format!("{POOL}/taken"));
    scratch.directory("etc/machines/elsewhere");
    scratch.directory(&format!("{POOL}/other.v/other_1"));
    let places = scratch.places();
    let web = image(&scratch, "web");
    for taken in ["taken", "elsewhere", "web"] {
        assert_eq!(rename(&places, &web, &named(taken)), Err(Error::NameTaken(taken.to_owned())));
    }
    assert_eq!(rename(&places, &web, &named(".host")).unwrap_err().errno(), Errno::BUSY);
    let version = image(&scratch, "other");
    assert_eq!(rename(&places, &version, &named("new")).unwrap_err().errno(), Errno::OPNOTSUPP);
    rename(&places, &web, &named("a b")).unwrap();
    assert_eq!(left(&scratch), ["a b.nspawn", "a b.raw", "other.v", "taken"]);
    assert_eq!(image(&scratch, "a b").space.limit, Some(4));
}

#[test]
fn a_raw_image_is_made_read_only_and_writable_again() {
    let scratch = Scratch::new("mark");
    scratch.file(&format!("{POOL}/web.raw"), "");
    let places = scratch.places();
    for read_only in [true, true, false] {
        set_read_only(&places, &image(&scratch, "web"), read_only).unwrap();
        assert_eq!(image(&scratch, "web").read_only, read_only);
    }
}

#[test]
fn cleaning_removes_what_is_hidden_or_all_but_what_is_in_use() {
    let scratch = Scratch::new("clean");
    for name in [".aside", "web", "busy"] {
        scratch.directory(&format!("{POOL}/{name}"));
    }
    scratch.file(&format!("{POOL}/disk.raw"), "");
    scratch.directory("usr/lib/machines/vendors");
    let places = scratch.places();
    let cleaned = |only_hidden| {
        let mut names = Vec::new();
        clean(&places, only_hidden, |name, usage| {
            assert_eq!(usage.is_some(), name == "disk");
            names.push(name);
        })
        .unwrap();
        names.sort();
        names
    };
    assert_eq!(cleaned(true), [".aside"]);
    let lock = PathLock::take(&places, &image(&scratch, "busy").path, Sharing::Exclusive).unwrap();
    assert_eq!(cleaned(false), ["disk", "web"]);
    drop(lock);
    assert_eq!(cleaned(false), ["busy"]);
    assert!(scratch.path("usr/lib/machines/vendors").exists());
}

#[test]
fn what_was_left_half_done_is_removed_unless_somebody_holds_it_or_it_is_anothers() {
    let scratch = Scratch::new("tidy");
    scratch.file(&format!("{POOL}/.#mymachines.web.1-0/etc/hostname"), "");
    scratch.file(&format!("{POOL}/.#mymachines.disk.1-0"), "");
    scratch.file(&format!("{POOL}/.#web.raw123456"), "a download");
    scratch.link(&format!("{POOL}/.#mymachines.link"), "web");
    scratch.directory(&format!("{POOL}/web"));
    let directory = open(scratch.path(POOL).to_str().unwrap(), DIRECTORY, Mode::empty()).unwrap();
    let staged =
        Staged::make(&directory, "held", |name| rustix::fs::mkdirat(&directory, name, Mode::RWXU)).unwrap();
    let held = staged.name().to_owned();
    assert_eq!(tidy(&scratch.places()), Ok(2));
    assert_eq!(left(&scratch), [&held, ".#mymachines.link", ".#web.raw123456", "web"]);
    drop(staged);
    assert_eq!(left(&scratch), [".#mymachines.link", ".#web.raw123456", "web"]);
}

#[test]
fn nothing_of_what_is_mounted_in_an_image_is_removed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED nothing_of_what_is_mounted_in_an_image_is_removed: only root mounts");
        return;
    }
    let scratch = Scratch::new("mounted");
    scratch.directory(&format!("{POOL}/web/mnt"));
    scratch.file("elsewhere/kept", "");
    let (from, at) = (scratch.path("elsewhere"), scratch.path(&format!("{POOL}/web/mnt")));
    let mount = std::process::Command::new("mount").arg("--bind").args([&from, &at]).status().unwrap();
    if !mount.success() {
        eprintln!("SKIPPED nothing_of_what_is_mounted_in_an_image_is_removed: mount does not work here");
        return;
    }
    let removed = remove(&scratch.places(), &image(&scratch, "web"));
    let aside = left(&scratch);
    let kept = scratch.path("elsewhere/kept").exists();
    let at = scratch.path(&format!("{POOL}/{}/mnt", aside.first().unwrap()));
    assert!(std::process::Command::new("umount").arg(at).status().unwrap().success());
    assert!(kept);
    assert_eq!(removed.unwrap_err().errno(), Errno::BUSY);
    assert_eq!(tidy(&scratch.places()), Ok(usize::from(aside != ["web"])));
}

#[test]
fn what_was_left_in_a_directory_of_versions_is_removed_too() {
    let scratch = Scratch::new("tidy-versions");
    let versions = format!("{POOL}/web.v");
    scratch.file(&format!("{versions}/.#mymachines.web.1-0/etc/hostname"), "");
    scratch.directory(&format!("{versions}/web_1"));
    scratch.file(&format!("{POOL}/file.v"), "");
    scratch.link(&format!("{POOL}/nowhere.v"), "nothing");
    assert_eq!(tidy(&scratch.places()), Ok(1));
    assert!(!scratch.path(&format!("{versions}/.#mymachines.web.1-0")).exists());
    // One that is being removed is left, and put aside in the directory of the versions.
    let version = image(&scratch, "web");
    let place = scratch.text(&versions);
    let directory = open(place.as_str(), DIRECTORY, Mode::empty()).unwrap();
    let aside = Staged::put_aside(&directory, &version.name, "web_1").unwrap();
    assert_eq!(tidy(&scratch.places()), Ok(0));
    drop(aside);
    assert_eq!(fs::read_dir(place).unwrap().count(), 0);
}

#[test]
fn an_image_gets_no_name_by_which_it_could_not_be_found() {
    let scratch = Scratch::new("lost-names");
    scratch.directory(&format!("{POOL}/web"));
    scratch.file(&format!("{POOL}/disk.raw"), "disk");
    let places = scratch.places();
    for name in ["new.v", "new.raw.v", "new.mstack", "new.mstack.v"] {
        let lost = Err(Error::BadName(name.to_owned()));
        assert_eq!(rename(&places, &image(&scratch, "web"), &named(name)), lost);
        let mut tell = |_| {};
        let teller = &mut Teller::new(false, &mut tell);
        assert_eq!(crate::clone::clone(&places, &image(&scratch, "web"), &named(name), false, teller), lost);
    }
    assert_eq!(left(&scratch), ["disk.raw", "web"]);
    // As files they are found.
    rename(&places, &image(&scratch, "disk"), &named("new.v")).unwrap();
    assert_eq!(image(&scratch, "new.v").kind, Kind::Raw);
    rename(&places, &image(&scratch, "web"), &named("web.raw")).unwrap();
    assert_eq!(image(&scratch, "web.raw").kind, Kind::Directory);
}
