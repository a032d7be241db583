//! On a real btrfs, where the caller has mounted one and says where: `IMAGES_BTRFS=/mnt cargo test -p images`. The system
//! test has one on a loop device.

use std::fs;
use std::path::PathBuf;

use images::{Image, ImageName, Kind, Places, Teller};

fn clone(places: &Places, image: &Image, name: &ImageName, read_only: bool) -> images::Result<()> {
    images::clone(places, image, name, read_only, &mut Teller::new(false, &mut |_| {}))
}

fn remove(places: &Places, image: &Image) -> images::Result<()> {
    images::remove(places, image, &mut Teller::new(false, &mut |_| {}))
}

#[test]
fn subvolumes_are_copied_limited_and_removed_with_those_below_them() {
    let Some(mount) = std::env::var_os("IMAGES_BTRFS").map(PathBuf::from) else {
        println!(
            "SKIPPED subvolumes_are_copied_limited_and_removed_with_those_below_them: there is no btrfs"
        );
        return;
    };
    let root = mount.join(format!("images-{}", std::process::id()));
    fs::create_dir_all(root.join("var/lib")).unwrap();
    fs::create_dir_all(root.join("etc/machines/tree/etc")).unwrap();
    fs::write(root.join("etc/machines/tree/etc/hostname"), "tree\n").unwrap();
    let places = Places::below(root.to_str().unwrap());
    let name = |name: &str| ImageName::new(name).unwrap();
    let find = |places: &Places, name: &str| -> Image {
        images::find(places, &ImageName::new(name).unwrap()).unwrap()
    };
    // A directory becomes a subvolume, in a pool that is one.
    clone(&places, &find(&places, "tree"), &name("web"), false).unwrap();
    let web = find(&places, "web");
    assert_eq!((web.kind, web.read_only), (Kind::Subvolume, false));
    assert!(web.created > 0);
    images::set_pool_limit(&places, Some(1 << 30)).unwrap();
    assert_eq!(images::pool(&places).unwrap().limit, Some(1 << 30));
    images::set_limit(&web, Some(1 << 20)).unwrap();
    let web = find(&places, "web");
    assert_eq!(web.space.limit, Some(1 << 20));
    assert!(web.space.usage.is_some() && web.space.usage_exclusive.is_some());
    images::set_limit(&web, None).unwrap();
    assert_eq!(find(&places, "web").space.limit, None);
    // One subvolume below it, and one below that.
    let pool = root.join("var/lib/machines");
    for (from, to) in [("tree", ".aside1"), ("tree", ".aside2")] {
        clone(&places, &find(&places, from), &name(to), false).unwrap();
    }
    fs::create_dir_all(pool.join("web/var/lib")).unwrap();
    fs::rename(pool.join(".aside1"), pool.join("web/var/lib/inner")).unwrap();
    fs::rename(pool.join(".aside2"), pool.join("web/var/lib/inner/innermost")).unwrap();
    for read_only in [false, true] {
        clone(&places, &find(&places, "web"), &name("copy"), read_only).unwrap();
        let copy = find(&places, "copy");
        assert_eq!((copy.kind, copy.read_only), (Kind::Subvolume, read_only));
        for path in ["", "var/lib/inner/", "var/lib/inner/innermost/"] {
            let text = fs::read_to_string(pool.join(format!("copy/{path}etc/hostname")));
            assert_eq!(text.unwrap(), "tree\n", "{path}");
            let written = fs::write(pool.join(format!("copy/{path}new")), "");
            assert_eq!(written.is_err(), read_only, "{path}");
        }
        images::set_read_only(&places, &copy, !read_only).unwrap();
        assert_eq!(find(&places, "copy").read_only, !read_only);
        images::set_read_only(&places, &find(&places, "copy"), true).unwrap();
        images::rename(&places, &find(&places, "copy"), &name("renamed")).unwrap();
        remove(&places, &find(&places, "renamed")).unwrap();
    }
    remove(&places, &find(&places, "web")).unwrap();
    let left: Vec<_> = fs::read_dir(&pool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}
