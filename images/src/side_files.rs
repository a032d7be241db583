//! Files that belong to an image and are none: settings of systemd-nspawn, and what a disk is verified with. Nothing depends
//! on whether they follow: what fails is left out, as by the original.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;

use crate::data::FileData;
use crate::image::Image;
use crate::places::Places;
use crate::protection::DIRECTORY;
use crate::staged::Staged;
use crate::together::Move;

/// What stands beside an image, by what its name ends in.
const BESIDE: [&str; 10] = [
    ".nspawn",
    ".oci-config",
    ".roothash",
    ".roothash.p7s",
    ".usrhash",
    ".usrhash.p7s",
    ".verity",
    ".raw.tpmstate",
    ".raw.efinvramstate",
    ".raw.efinvramstate.json",
];

/// The files of an image, and those of another one of this name in a directory.
fn pairs(places: &Places, image: &Image, name: &str, directory: &str) -> Vec<(String, String)> {
    let settings = places.settings();
    let settings = settings.iter().map(|at| {
        let file = |name: &str| format!("{at}/{name}.nspawn");
        (file(&image.name), file(name))
    });
    let (own, _) = image.place();
    let beside = BESIDE
        .iter()
        .map(|suffix| (format!("{own}/{}{suffix}", image.name), format!("{directory}/{name}{suffix}")));
    settings.chain(beside).collect()
}

/// Those that go with an image.
pub(crate) fn removed(places: &Places, image: &Image) -> Vec<Move> {
    let pairs = pairs(places, image, &image.name, "");
    pairs.into_iter().filter_map(|(file, _)| Move::of(file, None)).collect()
}

/// Those that are renamed with an image.
pub(crate) fn renamed(places: &Places, image: &Image, name: &str) -> Vec<Move> {
    let (directory, _) = image.place();
    let pairs = pairs(places, image, name, directory);
    pairs.into_iter().filter_map(|(file, renamed)| Move::of(file, Some(renamed))).collect()
}

/// Where copies of them are put.
#[derive(Debug)]
pub(crate) struct Targets(Vec<(String, OwnedFd)>);

impl Targets {
    pub(crate) fn open(places: &Places) -> Self {
        let paths = places.settings().into_iter().chain([places.pool()]);
        let open = |path: String| Some((open(path.as_str(), DIRECTORY, Mode::empty()).ok()?, path));
        Self(paths.filter_map(open).map(|(directory, path)| (path, directory)).collect())
    }

    /// Copies them for a clone in the pool: each has a name of no meaning until it gets its own.
    pub(crate) fn copy(&self, places: &Places, image: &Image, name: &str) -> Copies<'_> {
        let (mut files, mut moves) = (Vec::new(), Vec::new());
        for (file, target) in pairs(places, image, name, &places.pool()) {
            let Some((parent, own)) = target.rsplit_once('/') else { continue };
            let Some((_, directory)) = self.0.iter().find(|(path, _)| path == parent) else { continue };
            // Half of one is worse than none.
            let Ok(copy) = copy_one(&file, directory, name) else { continue };
            let now = format!("{parent}/{}", copy.name());
            moves.extend(Move::of_new(&now, target.clone()));
            files.push((copy, own.to_owned()));
        }
        Copies { files, moves }
    }
}

/// Copies without their names.
#[derive(Debug)]
pub(crate) struct Copies<'a> {
    files: Vec<(Staged<'a>, String)>,
    pub(crate) moves: Vec<Move>,
}

impl Copies<'_> {
    /// Gives them their names, unless others have them.
    pub(crate) fn finish(self) {
        for (file, name) in self.files {
            let _ = file.finish(&name);
        }
    }
}

fn copy_one<'a>(from: &str, directory: &'a OwnedFd, name: &str) -> Result<Staged<'a>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let source = open(from, flags, Mode::empty())?;
    let (staged, target) = Staged::make_file(directory, name)?;
    FileData::new().copy(&source, &target, &mut |_| {})?;
    fchmod(&target, Mode::from_raw_mode(0o644))?;
    Ok(staged)
}
