//! Which images there are.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, open, openat};
use rustix::io::Errno;

use crate::attributes::{Around, Found, Seen, look};
use crate::error::{Error, Result};
use crate::image::{HOST_NAME, Image};
use crate::name::ImageName;
use crate::pick::pick;
use crate::places::Places;

/// How a file stands for an image: what it is called beyond the image's name. Of two in one directory the first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Form {
    /// A directory, or a block device.
    Plain,
    Raw,
    Versions,
    RawVersions,
    Mstack,
    MstackVersions,
}

impl Form {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Raw, Self::Versions, Self::RawVersions, Self::Mstack, Self::MstackVersions];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Raw => ".raw",
            Self::Versions => ".v",
            Self::RawVersions => ".raw.v",
            Self::Mstack => ".mstack",
            Self::MstackVersions => ".mstack.v",
        }
    }

    /// Those that count before this one.
    fn better(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().take_while(move |&form| form < self)
    }

    /// The form of a file, and the name of the image; `None` if it is none.
    fn of(file: &str, kind: FileType) -> Option<(Self, &str)> {
        let has_dot = || file.as_bytes().contains(&b'.');
        let suffixes: &[Self] = match kind {
            FileType::RegularFile => &[Self::Raw],
            FileType::BlockDevice => &[Self::Plain],
            FileType::Directory if has_dot() => {
                &[Self::MstackVersions, Self::RawVersions, Self::Versions, Self::Mstack, Self::Plain]
            }
            FileType::Directory => &[Self::Plain],
            _ => &[],
        };
        suffixes.iter().find_map(|form| match form.suffix() {
            // Comparing nothing takes longer than all else here: memcmp(3) trips over the address that an empty slice has.
            "" => Some((*form, file)),
            suffix => Some((*form, file.strip_suffix(suffix)?)),
        })
    }
}

/// Whether a file of this name and type stands for the image of a name, and not for another one.
pub(crate) fn stands_for(file: &str, kind: FileType, image: &str) -> bool {
    Form::of(file, kind).is_some_and(|(_, name)| name == image)
}

/// A file that stands for an image.
struct Candidate<'a> {
    file: &'a str,
    /// How much of that is the image's name.
    name: &'a str,
    form: Form,
    seen: Seen,
}

/// Describes all images, and hands over each as it is found; those that have a better one of the same name before
/// them are left out.
///
/// # Errors
/// A directory cannot be read. A single image that cannot be looked at is left out.
pub fn list(places: &Places, mut found: impl FnMut(Image)) -> Result<()> {
    let mut known = HashSet::new();
    for path in places.directories() {
        let Some(directory) = open_directory(&path)? else { continue };
        let files = files(&path, &directory)?;
        let in_order = OnceCell::new();
        let is_there = |name: &str, suffix: &str| {
            let files = in_order.get_or_init(|| {
                let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
                files.sort_unstable();
                files
            });
            files.binary_search_by(|file| file.bytes().cmp(name.bytes().chain(suffix.bytes()))).is_ok()
        };
        let around = Around::of(&directory);
        let directory = Directory { around, ..Directory::new(places, &path, directory) };
        let mut tell = |candidate: &Candidate<'_>| {
            if !known.contains(candidate.name)
                && let Ok(Some(image)) = directory.describe(candidate)
            {
                known.insert(image.name.clone());
                found(image);
            }
        };
        // Those that are images only if another file, which would be a better one of their name, is none.
        let mut second = Vec::new();
        for file in &files {
            // A link that leads nowhere, or that may not be followed, is no image.
            let Ok(seen) = look(&directory.descriptor, file) else { continue };
            let Some((form, name)) = Form::of(file, seen.file_type()) else { continue };
            if !ImageName::is_one(name) {
                continue;
            }
            let candidate = Candidate { file, name, form, seen };
            if form.better().any(|better| is_there(name, better.suffix())) {
                second.push(candidate);
            } else {
                tell(&candidate);
            }
        }
        second.sort_by_key(|candidate| candidate.form);
        second.iter().for_each(tell);
    }
    if !known.contains(HOST_NAME)
        && let Some(path) = places.host()
    {
        found(host(&path)?);
    }
    Ok(())
}

/// Describes the image of a name.
///
/// # Errors
/// [`Error::NoSuchImage`]. It, or a directory before it, cannot be looked at.
pub fn find(places: &Places, name: &ImageName) -> Result<Image> {
    let name = name.as_str();
    for path in places.directories() {
        let Some(directory) = open_directory(&path)? else { continue };
        let directory = Directory::new(places, &path, directory);
        for form in Form::ALL {
            let file = format!("{name}{}", form.suffix());
            let seen = match look(&directory.descriptor, &file) {
                Ok(seen) => seen,
                // No file is called that, or one is that leads nowhere.
                Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::LOOP) => continue,
                Err(errno) => return Err(Error::of("look at", &format!("{path}/{file}"))(errno)),
            };
            if Form::of(&file, seen.file_type()) != Some((form, name)) {
                continue;
            }
            let candidate = Candidate { file: &file, name, form, seen };
            if let Some(image) = directory.describe(&candidate)? {
                return Ok(image);
            }
        }
    }
    match places.host().filter(|_| name == HOST_NAME) {
        Some(path) => host(&path),
        None => Err(Error::NoSuchImage(name.to_owned())),
    }
}

/// The files of a directory that may stand for images, in no order.
fn files(path: &str, directory: &OwnedFd) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Error::of("read", path))?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(file) if file.starts_with(".sysupdate.") => {}
            // What belongs to images, mostly.
            Ok(file) if entry.file_type() == FileType::RegularFile && !file.ends_with(".raw") => {}
            Ok(file) => files.push(file.to_owned()),
        }
    }
    Ok(files)
}

fn open_directory(path: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::of("open", path)(errno)),
    }
}

/// A directory with images.
struct Directory<'a> {
    path: &'a str,
    descriptor: OwnedFd,
    /// Its place, where many images of it are described.
    around: Option<Around>,
    is_vendors: bool,
}

impl<'a> Directory<'a> {
    fn new(places: &Places, path: &'a str, descriptor: OwnedFd) -> Self {
        Self { path, descriptor, around: None, is_vendors: places.is_vendors(path) }
    }

    fn describe(&self, candidate: &Candidate<'_>) -> Result<Option<Image>> {
        let &Candidate { file, name, form, seen } = candidate;
        let path = [self.path, "/", file].concat();
        let (suffix, types): (_, &[FileType]) = match form {
            Form::Plain | Form::Raw | Form::Mstack => {
                let found = Found {
                    name,
                    path: &path,
                    directory: self.descriptor.as_fd(),
                    file,
                    seen,
                    around: self.around,
                    is_mstack: form == Form::Mstack,
                    vendor: self.is_vendors,
                };
                return found.describe().map_err(Error::of("look at", &path));
            }
            Form::Versions => ("", &[FileType::Directory]),
            Form::RawVersions => (".raw", &[FileType::RegularFile, FileType::BlockDevice]),
            Form::MstackVersions => (".mstack", &[FileType::Directory]),
        };
        let fail = Error::of("look at", &path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let versions = openat(&self.descriptor, file, flags, Mode::empty()).map_err(&fail)?;
        let Some((version, seen)) = pick(&versions, name, suffix, types).map_err(&fail)? else {
            return Ok(None);
        };
        let found = Found {
            name,
            path: &format!("{path}/{version}"),
            directory: versions.as_fd(),
            file: &version,
            seen,
            around: None,
            is_mstack: form == Form::MstackVersions,
            vendor: self.is_vendors,
        };
        found.describe().map_err(fail)
    }
}

/// What the host runs from.
fn host(path: &str) -> Result<Image> {
    let fail = Error::of("look at", path);
    let seen = look(CWD, path).map_err(&fail)?;
    let found = Found {
        name: HOST_NAME,
        path,
        directory: CWD,
        file: path,
        seen,
        around: None,
        is_mstack: false,
        vendor: false,
    };
    let image = found.describe().map_err(&fail)?;
    image.ok_or_else(|| fail(Errno::NOENT))
}

#[cfg(test)]
mod tests;
