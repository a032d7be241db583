//! The program itself, under its filter, given images that somebody changed: nothing but the program ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The most that is ever answered: four files of 64 KiB, and their names; or the reason.
const LONGEST: usize = 4 * (64 * 1024 + 100);
/// The processor time that the program is given is 2 s; the rest is for machines with other work.
const DEADLINE: Duration = Duration::from_secs(60);

/// A place for images, which goes with this.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("image-reader-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file system with an operating system, where the program is that makes it.
fn made(place: &Place, kind: &str, size: u64, options: &[&str]) -> Option<Vec<u8>> {
    let root = place.0.join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/hostname"), "box\n").unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
    let image = place.0.join(kind);
    File::create(&image).unwrap().set_len(size).unwrap();
    let programs = ["/usr/sbin", "/sbin"].map(|directory| Path::new(directory).join(format!("mkfs.{kind}")));
    let Some(program) = programs.iter().find(|path| path.exists()) else {
        println!("SKIPPED mkfs.{kind} is not installed");
        return None;
    };
    let done = Command::new(program).arg("-q").args(options).args([&root, &image]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(std::fs::read(&image).unwrap())
}

/// A disk with one partition, of the type that Linux has for whatever there is.
fn partitioned(partition: &[u8]) -> Vec<u8> {
    const FIRST: usize = 64;
    let mut disk = vec![0; FIRST * 512];
    disk.extend_from_slice(partition);
    disk.resize(disk.len().next_multiple_of(512), 0);
    let linux =
        [0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4];
    disk[1024..1040].copy_from_slice(&linux);
    disk[1056..1064].copy_from_slice(&u64::try_from(FIRST).unwrap().to_le_bytes());
    let last = u64::try_from(disk.len() / 512 - 1).unwrap();
    disk[1064..1072].copy_from_slice(&last.to_le_bytes());
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, value) in [(12, 92), (72, 2), (80, 4), (84, 128)] {
        header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
    }
    let sum = !header.iter().fold(u32::MAX, |sum, byte| {
        let step = |sum: u32, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0xEDB8_8320 };
        (0..8).fold(sum ^ u32::from(*byte), step)
    });
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    disk[512..604].copy_from_slice(&header);
    disk
}

/// Runs the program on an image.
fn read(image: &File) -> (ExitStatus, Vec<u8>) {
    let mut image = image.try_clone().unwrap();
    image.seek(SeekFrom::Start(0)).unwrap();
    let began = Instant::now();
    let program = Command::new(env!("CARGO_BIN_EXE_machined-image-reader"))
        .stdin(image)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut program = program.unwrap();
    let mut answer = Vec::new();
    program.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    let ended = program.wait().unwrap();
    assert!(began.elapsed() < DEADLINE);
    (ended, answer)
}

/// Whether an answer is one of the two kinds that there are.
fn is_answer(answer: &[u8]) -> bool {
    let Some(mut rest) = answer.strip_prefix(b"files\n") else {
        return answer
            .strip_prefix(b"unsupported\n")
            .is_some_and(|reason| std::str::from_utf8(reason).is_ok());
    };
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return false };
        let head = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        let Some((name, length)) = head.split_once(' ') else { return false };
        let Ok(length) = length.parse::<usize>() else { return false };
        if !["hostname", "machine-id", "machine-info", "os-release"].contains(&name)
            || rest.len() <= end + length
        {
            return false;
        }
        rest = &rest[end + 1 + length..];
    }
    true
}

/// Runs with other numbers: `IMAGE_READER_ROUNDS=10000 IMAGE_READER_SEED=7`.
#[test]
fn a_changed_image_ends_nothing_but_the_program_that_reads_it() {
    let number =
        |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, mut state) = (number("IMAGE_READER_ROUNDS", 150), number("IMAGE_READER_SEED", 1));
    let mut random = |below: usize| {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let place = Place::new("mutated");
    let kept = ["plain.erofs", "chunked.erofs", "lz4.erofs", "zstd.squashfs", "gzip.squashfs"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
        (name, Some(std::fs::read(path).unwrap()))
    });
    let ext4 = made(&place, "ext4", 2 << 20, &["-d"]);
    let btrfs = made(&place, "btrfs", 128 << 20, &["-m", "single", "-d", "single", "--shrink", "--rootdir"]);
    let disk = ext4.as_deref().map(partitioned);
    for (kind, image) in kept.into_iter().chain([("ext4", ext4), ("btrfs", btrfs), ("partitions", disk)]) {
        let Some(image) = image else { continue };
        let places: Vec<usize> = (0..image.len()).filter(|&place| image[place] != 0).collect();
        let path = place.0.join(kind);
        std::fs::write(&path, &image).unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let (ended, answer) = read(&file);
        assert!(ended.success() && answer.starts_with(b"files\nhostname 4\nbox\n"), "{kind}: {ended:?}");
        let mut write = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(u64::try_from(at).unwrap())).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        let (mut answered, mut ended_otherwise) = (0, 0);
        for round in 0..rounds {
            let changed: Vec<usize> = (0..1 + random(16)).map(|_| places[random(places.len())]).collect();
            for &at in &changed {
                write(at, u8::try_from(random(256)).unwrap());
            }
            let (ended, answer) = read(&File::open(&path).unwrap());
            assert!(answer.len() <= LONGEST, "{kind}, {round}: {} bytes", answer.len());
            if ended.success() {
                assert!(is_answer(&answer), "{kind}, {round}: {answer:?}");
                answered += 1;
            } else {
                // It gave up, or the kernel ended it: a forbidden call, memory that is not there, or time that is over.
                let signal = ended.signal();
                let known = [
                    libc::SIGSYS,
                    libc::SIGSEGV,
                    libc::SIGBUS,
                    libc::SIGABRT,
                    libc::SIGXCPU,
                    libc::SIGKILL,
                    libc::SIGILL,
                ];
                assert!(signal.is_none_or(|signal| known.contains(&signal)), "{kind}, {round}: {ended:?}");
                ended_otherwise += 1;
            }
            for &at in &changed {
                write(at, image[at]);
            }
        }
        let (ended, _) = read(&File::open(&path).unwrap());
        assert!(ended.success(), "{kind}: what was changed is as it was");
        println!("{kind}: {answered} answered, {ended_otherwise} ended otherwise");
        assert_eq!(answered + ended_otherwise, rounds);
    }
}

#[test]
fn an_image_that_is_cut_off_is_told_or_ends_the_program_alone() {
    let place = Place::new("cut-off");
    let path = place.0.join("image");
    let plain = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plain.erofs")).unwrap();
    std::fs::write(&path, &plain[..5000]).unwrap();
    let (ended, answer) = read(&File::open(&path).unwrap());
    assert!(ended.signal().is_none_or(|signal| signal == libc::SIGBUS), "{ended:?}");
    assert!(answer.is_empty() || is_answer(&answer));
}
