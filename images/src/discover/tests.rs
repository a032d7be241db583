use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::image::Kind;
use crate::scratch::Scratch;

fn listed(places: &Places) -> BTreeMap<String, Image> {
    let mut images = BTreeMap::new();
    list(places, |image| {
        let twice = images.insert(image.name.clone(), image);
        assert_eq!(twice, None);
    })
    .unwrap();
    images
}

fn found(places: &Places, name: &str) -> Result<Image> {
    find(places, &ImageName::new(name).unwrap())
}

#[test]
fn directories_and_raw_files_are_images_and_other_files_are_none() {
    let scratch = Scratch::new("kinds");
    scratch.directory("var/lib/machines/tree");
    scratch.directory("var/lib/machines/a b_c");
    scratch.directory("var/lib/machines/.aside");
    scratch.directory("var/lib/machines/.#half");
    scratch.directory("var/lib/machines/.sysupdate.x");
    scratch.directory("var/lib/machines/stack.mstack");
    scratch.file("var/lib/machines/disk.raw", "12345");
    scratch.file("var/lib/machines/.raw", "");
    scratch.file("var/lib/machines/.#disk.lck", "");
    scratch.file("var/lib/machines/tree.nspawn", "");
    scratch.file("var/lib/machines/disk.squashfs", "");
    let places = scratch.places();
    let images = listed(&places);
    let kinds: Vec<_> = images.values().map(|image| (image.name.as_str(), image.kind)).collect();
    assert_eq!(
        kinds,
        [
            (".aside", Kind::Directory),
            (".host", Kind::Directory),
            ("a b_c", Kind::Directory),
            ("disk", Kind::Raw),
            ("stack", Kind::Mstack),
            ("tree", Kind::Directory),
        ]
    );
    for (name, image) in &images {
        assert_eq!(&found(&places, name).unwrap(), image);
    }
    let disk = &images["disk"];
    assert_eq!(disk.path, scratch.text("var/lib/machines/disk.raw"));
    assert_eq!((disk.space.limit, disk.space.usage), (Some(5), disk.space.usage_exclusive));
    assert!(disk.modified > 0 && !disk.read_only && !disk.vendor);
    assert!(images[".aside"].read_only && images[".aside"].is_hidden() && images[".host"].is_host());
    assert_eq!(images[".host"].path, scratch.text("").trim_end_matches('/'));
    for name in ["half", "squashfs", "nspawn", "none"] {
        assert_eq!(found(&places, name), Err(Error::NoSuchImage(name.to_owned())));
    }
}

#[test]
fn of_images_with_one_name_the_first_on_the_path_is_found() {
    let scratch = Scratch::new("first");
    scratch.directory("usr/lib/machines/web");
    scratch.directory("usr/lib/machines/vendors");
    scratch.file("var/lib/machines/web.raw", "");
    scratch.directory("etc/machines/web.v");
    scratch.directory("var/lib/machines/both");
    scratch.file("var/lib/machines/both.raw", "");
    let places = scratch.places();
    let images = listed(&places);
    // The directory of versions has none, and so it is no image.
    assert_eq!(images["web"].path, scratch.text("var/lib/machines/web.raw"));
    assert_eq!(images["both"].kind, Kind::Directory);
    assert!(images["vendors"].vendor && images["vendors"].read_only);
    for name in ["web", "both", "vendors"] {
        assert_eq!(found(&places, name).unwrap(), images[name]);
    }
}

#[test]
fn of_files_with_one_name_the_best_that_is_an_image_is_found() {
    let scratch = Scratch::new("best");
    let pool = "var/lib/machines";
    // Of each name the better ones are no images: a file, a link that leads nowhere, a directory without versions.
    scratch.file(&format!("{pool}/a"), "");
    scratch.file(&format!("{pool}/a.raw"), "");
    scratch.link(&format!("{pool}/b.raw"), "missing");
    scratch.directory(&format!("{pool}/b.v"));
    scratch.directory(&format!("{pool}/b.mstack"));
    scratch.directory(&format!("{pool}/c.mstack"));
    scratch.directory(&format!("{pool}/c.v/c_1"));
    scratch.file(&format!("{pool}/c.raw.v/c_1.raw"), "");
    let places = scratch.places();
    let images = listed(&places);
    let paths: Vec<_> = images.values().map(|image| image.path.as_str()).skip(1).collect();
    let expected = ["a.raw", "b.mstack", "c.v/c_1"].map(|file| scratch.text(&format!("{pool}/{file}")));
    assert_eq!(paths, expected);
    for name in ["a", "b", "c"] {
        assert_eq!(found(&places, name).unwrap(), images[name]);
    }
}

#[test]
fn links_are_followed_and_those_that_lead_nowhere_are_no_images() {
    let scratch = Scratch::new("links");
    scratch.directory("elsewhere/tree");
    scratch.file("elsewhere/disk.squashfs", "disk");
    let pool = "var/lib/machines";
    scratch.link(&format!("{pool}/tree"), "../../../elsewhere/tree");
    scratch.link(&format!("{pool}/disk.raw"), "../../../elsewhere/disk.squashfs");
    scratch.link(&format!("{pool}/nowhere"), "missing");
    scratch.link(&format!("{pool}/round.raw"), "round.raw");
    let places = scratch.places();
    let images = listed(&places);
    let names: Vec<_> = images.keys().map(String::as_str).collect();
    assert_eq!(names, [".host", "disk", "tree"]);
    assert_eq!((images["disk"].kind, images["disk"].space.limit), (Kind::Raw, Some(4)));
    for name in ["nowhere", "round"] {
        assert_eq!(found(&places, name), Err(Error::NoSuchImage(name.to_owned())));
    }
}

#[test]
fn of_a_directory_of_versions_the_newest_is_the_image() {
    let scratch = Scratch::new("versions");
    let pool = "var/lib/machines";
    scratch.directory(&format!("{pool}/tree.v/tree_1.9"));
    scratch.directory(&format!("{pool}/tree.v/tree_1.10"));
    scratch.file(&format!("{pool}/tree.v/tree_2"), "no directory");
    scratch.file(&format!("{pool}/disk.raw.v/disk_7.raw"), "");
    scratch.file(&format!("{pool}/disk.raw.v/disk_8+0.raw"), "");
    scratch.directory(&format!("{pool}/disk.raw.v/disk_9.raw"));
    scratch.directory(&format!("{pool}/stack.mstack.v/stack_1.mstack"));
    scratch.directory(&format!("{pool}/empty.v"));
    let places = scratch.places();
    let images = listed(&places);
    let paths: Vec<_> = images.values().map(|image| (image.kind, image.path.as_str())).skip(1).collect();
    assert_eq!(
        paths,
        [
            (Kind::Raw, scratch.text("var/lib/machines/disk.raw.v/disk_7.raw").as_str()),
            (Kind::Mstack, &scratch.text("var/lib/machines/stack.mstack.v/stack_1.mstack")),
            (Kind::Directory, &scratch.text("var/lib/machines/tree.v/tree_1.10")),
        ]
    );
    for name in ["disk", "stack", "tree"] {
        assert_eq!(found(&places, name).unwrap(), images[name]);
    }
}

#[test]
fn a_raw_image_that_nobody_may_write_to_is_read_only() {
    let scratch = Scratch::new("read-only");
    scratch.file("var/lib/machines/disk.raw", "");
    fs::set_permissions(scratch.path("var/lib/machines/disk.raw"), Permissions::from_mode(0o444)).unwrap();
    assert!(found(&scratch.places(), "disk").unwrap().read_only);
}

#[test]
fn an_image_may_be_called_as_the_host() {
    let scratch = Scratch::new("host");
    scratch.directory("var/lib/machines/.host");
    let places = scratch.places();
    assert_eq!(listed(&places)[".host"].path, scratch.text("var/lib/machines/.host"));
    assert_eq!(found(&places, ".host").unwrap().path, scratch.text("var/lib/machines/.host"));
}

#[test]
fn a_place_that_is_no_directory_is_an_error_and_one_that_is_missing_is_none() {
    let scratch = Scratch::new("no-directory");
    assert_eq!(listed(&scratch.places()).len(), 1);
    scratch.file("run/machines", "");
    assert_eq!(list(&scratch.places(), |_| {}).unwrap_err().errno(), Errno::NOTDIR);
    assert_eq!(found(&scratch.places(), "web").unwrap_err().errno(), Errno::NOTDIR);
}
