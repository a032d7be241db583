use std::fs;

use rustix::fs::open;

use super::*;
use crate::protection::DIRECTORY;
use crate::scratch::Scratch;
use crate::tidy::tidy;

const POOL: &str = "var/lib/machines";

/// An image and the files that belong to it, which somebody moves who is killed.
struct World {
    scratch: Scratch,
    pool: OwnedFd,
}

impl World {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.directory(&format!("{POOL}/old"));
        scratch.file(&format!("{POOL}/old.nspawn"), "settings");
        scratch.file("etc/systemd/nspawn/old.nspawn", "others");
        let pool = open(scratch.text(POOL).as_str(), DIRECTORY, Mode::empty()).unwrap();
        Self { scratch, pool }
    }

    fn moves(&self, to: Option<&str>) -> Moves {
        let moved = |from: &str| {
            let to = to.map(|to| self.scratch.text(&from.replace("old", to)));
            Move::of(self.scratch.text(from), to).unwrap()
        };
        let files = [moved(&format!("{POOL}/old.nspawn")), moved("etc/systemd/nspawn/old.nspawn")];
        Moves::new(moved(&format!("{POOL}/old")), false, files)
    }

    /// Begins as whoever is killed then: what was written down stays, and nobody holds it.
    fn begin(&self, moves: &Moves) {
        let journal = moves.begin(&self.pool).unwrap();
        let path = self.scratch.path(POOL).join(&journal.name);
        assert!(!settle(&self.scratch.places(), &self.pool, &journal.name), "somebody holds it");
        drop(journal);
        assert!(!path.exists());
        fs::write(path, moves.text()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.scratch.path(from), self.scratch.path(to)).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for (directory, short) in [(POOL, ""), ("etc/systemd/nspawn", "etc/")] {
            for entry in fs::read_dir(self.scratch.path(directory)).unwrap() {
                files.push(format!("{short}{}", entry.unwrap().file_name().into_string().unwrap()));
            }
        }
        files.sort();
        files
    }

    fn tidy(&self) -> Vec<String> {
        tidy(&self.scratch.places()).unwrap();
        self.files()
    }
}

const OLD: [&str; 3] = ["etc/old.nspawn", "old", "old.nspawn"];
const NEW: [&str; 3] = ["etc/new.nspawn", "new", "new.nspawn"];

#[test]
fn what_an_image_that_has_not_moved_had_is_put_back() {
    let world = World::new("moves-back");
    world.begin(&world.moves(Some("new")));
    assert!(world.files().iter().any(|file| file == "new.nspawn"), "it has a second name");
    assert_eq!(world.tidy(), OLD);
    world.begin(&world.moves(Some("new")));
    fs::remove_file(world.scratch.path(&format!("{POOL}/old.nspawn"))).unwrap();
    assert_eq!(world.tidy(), OLD, "a file that had the new name alone has the old one again");
}

#[test]
fn the_files_of_an_image_that_has_moved_follow_it() {
    let world = World::new("moves-on");
    let moves = world.moves(Some("new"));
    world.begin(&moves);
    world.rename(&format!("{POOL}/old"), &format!("{POOL}/new"));
    fs::remove_file(world.scratch.path("etc/systemd/nspawn/new.nspawn")).unwrap();
    assert_eq!(world.tidy(), NEW);
    assert_eq!(fs::read_to_string(world.scratch.path("etc/systemd/nspawn/new.nspawn")).unwrap(), "others");
}

#[test]
fn what_somebody_else_has_made_meanwhile_is_left_alone() {
    let world = World::new("moves-others");
    world.begin(&world.moves(Some("new")));
    world.rename(&format!("{POOL}/old"), &format!("{POOL}/new"));
    // A new image of the old name, with settings of its own.
    world.scratch.directory(&format!("{POOL}/old"));
    world.rename(&format!("{POOL}/old.nspawn"), "elsewhere");
    world.scratch.file(&format!("{POOL}/old.nspawn"), "of another");
    assert_eq!(world.tidy(), ["etc/new.nspawn", "new", "new.nspawn", "old", "old.nspawn"]);
    assert_eq!(fs::read_to_string(world.scratch.path(&format!("{POOL}/old.nspawn"))).unwrap(), "of another");
}

#[test]
fn the_files_of_an_image_that_is_gone_go_and_those_of_one_that_is_there_stay() {
    let world = World::new("moves-gone");
    world.begin(&world.moves(None));
    assert_eq!(world.tidy(), OLD);
    world.begin(&world.moves(None));
    fs::remove_dir(world.scratch.path(&format!("{POOL}/old"))).unwrap();
    assert_eq!(world.tidy(), [""; 0]);
}

#[test]
fn what_leads_elsewhere_is_not_whole_or_is_somebody_elses_is_not_done() {
    let world = World::new("moves-hostile");
    world.scratch.file("secret/file", "secret");
    let secret = world.scratch.text("secret/file");
    let elsewhere =
        Moves::new(Move::of(secret.clone(), None).unwrap(), false, [Move::of(secret, None).unwrap()]);
    let gone = world.moves(None);
    fs::remove_dir(world.scratch.path(&format!("{POOL}/old"))).unwrap();
    let text = gone.text();
    let journal = |text: &str| fs::write(world.scratch.path(&format!("{POOL}/{PREFIX}1-0")), text).unwrap();
    for wrong in
        [&elsewhere.text(), "", "moves 1\n", &text[..text.len() - 3], &text.replace("moves 1", "moves 2")]
    {
        journal(wrong);
        assert_eq!(world.tidy(), ["etc/old.nspawn", "old.nspawn"], "{wrong}");
        assert!(world.scratch.path("secret/file").exists());
    }
    journal(&text);
    let path = world.scratch.path(&format!("{POOL}/{PREFIX}1-0"));
    // A second name for what somebody else may have had written.
    fs::hard_link(&path, world.scratch.path("secret/text")).unwrap();
    assert_eq!(world.tidy().len(), 3);
    fs::remove_file(world.scratch.path("secret/text")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o622)).unwrap();
    assert_eq!(world.tidy().len(), 3, "others could have written it");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(world.tidy(), [""; 0]);
}

#[test]
fn the_files_of_a_version_that_is_gone_go_with_it() {
    let world = World::new("moves-versions");
    let versions = format!("{POOL}/old.v");
    world.scratch.directory(&format!("{versions}/old_1"));
    world.scratch.file(&format!("{versions}/old.nspawn"), "settings");
    world.scratch.file(&format!("{versions}/kept/file.v/deeper"), "");
    let gone = |path: &str| Move::of(world.scratch.text(&format!("{versions}/{path}")), None).unwrap();
    let moves = Moves::new(gone("old_1"), false, [gone("old.nspawn")]);
    let deeper = Moves::new(gone("old_1"), false, [gone("kept/file.v/deeper")]);
    fs::remove_dir(world.scratch.path(&format!("{versions}/old_1"))).unwrap();
    fs::write(world.scratch.path(&format!("{versions}/{PREFIX}1-0")), moves.text()).unwrap();
    fs::write(world.scratch.path(&format!("{versions}/{PREFIX}1-1")), deeper.text()).unwrap();
    assert_eq!(tidy(&world.scratch.places()), Ok(1));
    let left = fs::read_dir(world.scratch.path(&versions)).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kept"]);
    assert!(world.scratch.path(&format!("{versions}/kept/file.v/deeper")).exists());
}

#[test]
fn what_is_written_down_is_read_as_it_was() {
    let world = World::new("moves-text");
    for to in [Some("a b\u{e4}"), None] {
        let mut moves = world.moves(to);
        moves.is_immutable = to.is_some();
        assert_eq!(Moves::of_text(&moves.text()), Some(moves));
    }
}
