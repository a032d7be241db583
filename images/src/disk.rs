//! What the operating system on a disk says of itself, by a program of its own that is locked up before it looks: nothing of
//! the disk is mounted, and none of it is looked at here.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files_inside::Metadata;
use crate::image::Image;

/// The longest answer, in bytes: four files, and their names.
const LONGEST: u64 = 512 * 1024;

/// Has a disk read.
pub(crate) fn read(image: &Image, reader: &Path) -> Result<Metadata> {
    let fail = Error::of("read", &image.path);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let disk: OwnedFd = open(image.path.as_str(), flags, Mode::empty()).map_err(&fail)?;
    let kind = FileType::from_raw_mode(fstat(&disk).map_err(&fail)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return Err(fail(Errno::INVAL));
    }
    let mut command = Command::new(reader);
    command.env_clear().stdin(disk).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().map_err(|_| {
        Error::NotSupported(format!("{}, which reads disks, cannot be run", reader.display()).into())
    })?;
    let mut answer = Vec::new();
    let read = process.stdout.take().map(|output| output.take(LONGEST).read_to_end(&mut answer));
    // It may not be done, if it says too much.
    let _ = process.kill();
    let ended = process.wait();
    let is_read = matches!(read, Some(Ok(_)));
    // One that was killed was led astray by what is on the disk, or by somebody who shortened it meanwhile.
    if !is_read || !ended.is_ok_and(|status| status.success()) && answer.is_empty() {
        return Err(fail(Errno::UCLEAN));
    }
    if let Some(reason) = answer.strip_prefix(b"unsupported\n") {
        return Err(Error::NotSupported(String::from_utf8_lossy(reason).into_owned().into()));
    }
    answer.strip_prefix(b"files\n").and_then(parse).ok_or_else(|| fail(Errno::UCLEAN))
}

/// Each file is its name, a space, its length, the end of the line, and its bytes.
fn parse(mut answer: &[u8]) -> Option<Metadata> {
    let mut metadata = Metadata::default();
    while !answer.is_empty() {
        let end = answer.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = answer.split_at_checked(end)?;
        let (name, length) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let (bytes, rest) = rest.get(1..)?.split_at_checked(length.parse().ok()?)?;
        let file = match name {
            "hostname" => &mut metadata.hostname,
            "machine-id" => &mut metadata.machine_id,
            "machine-info" => &mut metadata.machine_info,
            "os-release" => &mut metadata.os_release,
            _ => return None,
        };
        *file = Some(bytes.to_vec());
        answer = rest;
    }
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::find;
    use crate::name::ImageName;
    use crate::scratch::Scratch;

    #[test]
    fn an_answer_is_taken_apart_or_refused_as_a_whole() {
        let told = parse(b"hostname 4\nbox\nos-release 0\n").unwrap();
        assert_eq!(told.hostname.as_deref(), Some(&b"box\n"[..]));
        assert_eq!((told.os_release, told.machine_id), (Some(Vec::new()), None));
        for bad in
            [&b"hostname 5\nbox\n"[..], b"shadow 0\n", b"hostname\n", b"hostname -1\n", b"hostname 1", b"\n"]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    /// What comes of a reader that does what a shell script does.
    fn told(scratch: &Scratch, script: &str) -> Result<Metadata> {
        use std::os::unix::fs::PermissionsExt;
        scratch.file("var/lib/machines/disk.raw", "disk");
        scratch.file("reader", &format!("#!/bin/sh\n{script}\n"));
        let reader = scratch.path("reader");
        std::fs::set_permissions(&reader, std::fs::Permissions::from_mode(0o755)).unwrap();
        let image = find(&scratch.places(), &ImageName::new("disk").unwrap()).unwrap();
        crate::metadata::metadata(&scratch.places(), &image, &reader)
    }

    #[test]
    fn a_reader_that_is_killed_or_makes_no_sense_has_not_read_the_disk() {
        let scratch = Scratch::new("reader");
        let good = told(&scratch, r"read -r disk; printf 'files\nhostname 4\n%s' $disk").unwrap();
        assert_eq!(good.hostname.as_deref(), Some(&b"disk"[..]));
        for script in ["kill -SYS $$", "exit 1", "", "echo nonsense", "yes"] {
            assert_eq!(told(&scratch, script).unwrap_err().errno(), Errno::UCLEAN, "{script}");
        }
        let reason = told(&scratch, r"printf 'unsupported\nit is a riddle'").unwrap_err();
        assert_eq!((reason.errno(), reason.to_string().as_str()), (Errno::OPNOTSUPP, "it is a riddle"));
        let missing = crate::metadata::metadata(
            &scratch.places(),
            &find(&scratch.places(), &ImageName::new("disk").unwrap()).unwrap(),
            Path::new("/nowhere"),
        );
        assert_eq!(missing.unwrap_err().errno(), Errno::OPNOTSUPP);
    }
}
