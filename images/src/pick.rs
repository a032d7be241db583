//! Which of the versions in a directory `X.v` is meant: systemd.v(7).

use std::cmp::Ordering;
use std::os::fd::AsFd;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::attributes::{Seen, look};
use crate::version;

/// What the names of directories of versions end in.
pub(crate) const VERSIONS: &str = ".v";

/// What this host is called in the names of files, systemd.unit(5) `ConditionArchitecture=`.
const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "x86-64",
    b"aarch64" => "arm64",
    b"x86" => "x86",
    b"riscv64" => "riscv64",
    b"s390x" => "s390x",
    b"powerpc64" if cfg!(target_endian = "little") => "ppc64-le",
    b"powerpc64" => "ppc64",
    b"loongarch64" => "loongarch64",
    _ => "arm",
};
/// What its kernel runs too.
const SECOND: Option<&str> = match ARCHITECTURE.as_bytes() {
    b"x86-64" => Some("x86"),
    b"arm64" => Some("arm"),
    _ => None,
};
/// All that a name may end in.
const KNOWN: [&str; 12] = [
    "x86-64",
    "x86",
    "arm64",
    "arm",
    "riscv64",
    "riscv32",
    "s390x",
    "s390",
    "ppc64-le",
    "ppc64",
    "loongarch64",
    "ia64",
];

/// A version, as a file's name says it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    file: String,
    version: String,
    /// 2 for this host's architecture, 1 for one that it runs too, 0 if none is said.
    fitness: u8,
    /// How often it may still be tried, and was; `None`: as often as one likes.
    left: Option<u64>,
    done: u64,
}

impl Entry {
    /// The version of a file `BASE_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX`; `None` if it is not one for this host.
    fn of(file: &str, base: &str, suffix: &str) -> Option<Self> {
        let rest = file.strip_suffix(suffix)?.strip_prefix(base)?.strip_prefix('_')?;
        let (rest, left, done) = match rest.rsplit_once('+') {
            Some((before, tries)) => {
                let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
                (before, Some(number(left)?), number(done)?)
            }
            None => (rest, None, 0),
        };
        let (version, fitness) = match rest.rsplit_once('_') {
            Some((version, architecture)) if KNOWN.contains(&architecture) => match architecture {
                ARCHITECTURE => (version, 2),
                other if Some(other) == SECOND => (version, 1),
                _ => return None,
            },
            _ => (rest, 0),
        };
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~^".contains(&byte);
        let is_version = !version.is_empty() && version.bytes().all(is_good);
        is_version.then(|| Self { file: file.to_owned(), version: version.to_owned(), fitness, left, done })
    }

    /// What is newest, and not tried in vain, is greatest.
    fn compare(&self, other: &Self) -> Ordering {
        let is_good = |entry: &Self| entry.left != Some(0);
        let left = |entry: &Self| entry.left.unwrap_or(u64::MAX);
        is_good(self)
            .cmp(&is_good(other))
            .then_with(|| version::compare(&self.version, &other.version))
            .then_with(|| self.fitness.cmp(&other.fitness))
            .then_with(|| left(self).cmp(&left(other)))
            .then_with(|| other.done.cmp(&self.done))
            .then_with(|| self.file.cmp(&other.file))
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Picks the version of `BASE` that is meant, of one of these types.
pub(crate) fn pick(
    directory: impl AsFd,
    base: &str,
    suffix: &str,
    types: &[FileType],
) -> Result<Option<(String, Seen)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let entry = entry?;
        entries.extend(entry.file_name().to_str().ok().and_then(|file| Entry::of(file, base, suffix)));
    }
    entries.sort_by(|one, other| other.compare(one));
    for entry in entries {
        match look(directory.as_fd(), &entry.file) {
            Ok(seen) if types.contains(&seen.file_type()) => return Ok(Some((entry.file, seen))),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(files: &[&str]) -> Option<String> {
        let entries = files.iter().filter_map(|file| Entry::of(file, "web", ".raw"));
        entries.max_by(Entry::compare).map(|entry| entry.file)
    }

    #[test]
    fn the_newest_version_is_picked_unless_it_was_tried_in_vain() {
        let native = format!("web_2_{ARCHITECTURE}.raw");
        for (files, picked) in [
            (vec!["web_1.raw", "web_10.raw", "web_9.raw"], Some("web_10.raw")),
            (vec!["web_1.raw", "web_2+0-3.raw"], Some("web_1.raw")),
            (vec!["web_1+0.raw"], Some("web_1+0.raw")),
            (vec!["web_2+1.raw", "web_2+3-1.raw"], Some("web_2+3-1.raw")),
            (vec!["web_2.raw", &native], Some(native.as_str())),
            (vec!["web_3_s390.raw", "web_2.raw"], Some("web_2.raw")),
            (vec!["web.raw", "web_.raw", "webs_1.raw", "web_1", "web_1+x.raw", "web_a b.raw"], None),
        ] {
            assert_eq!(newest(&files).as_deref(), picked, "{files:?}");
        }
    }
}
