//! Something that is no directory comes into its place: at once, or under another name first. Then there is either what was
//! there before or the whole at any time, and what a kill leaves behind is told by that name.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::getpid;

/// How a name for what is still being made begins; the process follows, and when it began.
const STAGED: &str = ".#mymachines.copy";

/// An entry of a directory.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub directory: BorrowedFd<'a>,
    pub name: &'a [u8],
}

/// How something comes into its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// At once, unless something else is replaced.
    Direct,
    /// Under another name first: half of it would be taken for the whole.
    Staged,
}

/// Makes something by `make` and `finish`, which are told under which name: its own, or `staged` first. If something else is
/// in its place and may be replaced, it is there until that is done.
///
/// # Errors
/// `EEXIST`: something is there that is not replaced, or a directory. Others are those of `make` and `finish`.
pub(super) fn place(
    target: Entry<'_>,
    staged: &[u8],
    replaces: bool,
    way: Way,
    mut make: impl FnMut(&[u8]) -> Result<(), Errno>,
    finish: impl Fn(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    if way == Way::Direct {
        match make(target.name) {
            Err(Errno::EXIST) if replaces => {}
            made => {
                made?;
                return finish(target.name);
            }
        }
    }
    match kind_of(target) {
        Err(Errno::NOENT) => {}
        Ok(FileType::Directory) => return Err(Errno::EXIST),
        Ok(_) if !replaces => return Err(Errno::EXIST),
        kind => drop(kind?),
    }
    let remove = || unlinkat(target.directory, staged, AtFlags::empty());
    let made = match make(staged) {
        // Whoever has the directory may have put something there.
        Err(Errno::EXIST) => remove().and_then(|()| make(staged)),
        made => made,
    };
    let done = made
        .and_then(|()| finish(staged))
        .and_then(|()| rename(Entry { name: staged, ..target }, target.name, replaces));
    // A rename to another link of the same file does nothing.
    if done.is_err() || replaces {
        let _ = remove();
    }
    done
}

/// Gives it its name, which belongs to nobody else, or is taken away from whoever has it.
fn rename(staged: Entry<'_>, name: &[u8], replaces: bool) -> Result<(), Errno> {
    let Entry { directory, name: old } = staged;
    if replaces {
        return renameat(directory, old, directory, name);
    }
    match renameat_with(directory, old, directory, name, RenameFlags::NOREPLACE) {
        // Not every file system has it.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, old, directory, name, AtFlags::empty())?;
            unlinkat(directory, old, AtFlags::empty())
        }
        renamed => renamed,
    }
}

fn kind_of(entry: Entry<'_>) -> Result<FileType, Errno> {
    let stat = statat(entry.directory, entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// The name for what this process is making.
pub(super) fn own_name() -> String {
    let pid = getpid().as_raw_nonzero().get();
    format!("{STAGED}.{pid}.{}", began(pid).unwrap_or_default())
}

/// When a process began, in the kernel's own unit; nothing if there is none.
fn began(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    registry::start_time_of_stat(&stat)
}

/// Whether a name is that of what a process was making that is gone.
fn is_left_over(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(STAGED.as_bytes()).and_then(|rest| rest.strip_prefix(b".")) else {
        return false;
    };
    let numbers = std::str::from_utf8(rest).ok().and_then(|text| {
        let (pid, began) = text.split_once('.')?;
        Some((pid.parse().ok()?, began.parse().ok()?))
    });
    numbers.is_some_and(|(pid, then): (i32, u64)| began(pid) != Some(then))
}

/// Removes what copies that were killed have left in a directory. Nothing else has such a name.
pub(super) fn remove_left_over(directory: BorrowedFd<'_>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(entries) = openat(directory, ".", flags, Mode::empty()).and_then(Dir::new) else { return };
    for entry in entries.flatten().filter(|entry| is_left_over(entry.file_name().to_bytes())) {
        // A directory is not ours.
        let _ = unlinkat(directory, entry.file_name(), AtFlags::empty());
    }
}
