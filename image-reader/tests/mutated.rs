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

/// An ext4 with an operating system, where mkfs.ext4 is.
fn ext4(place: &Place) -> Option<Vec<u8>> {
    let root = place.0.join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/hostname"), "box\n").unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
    let image = place.0.join("ext4");
    File::create(&image).unwrap().set_len(2 << 20).unwrap();
    let program =
        ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else {
        println!("SKIPPED mkfs.ext4 is not installed");
        return None;
    };
    let done = Command::new(program).args(["-q", "-d"]).args([&root, &image]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(std::fs::read(&image).unwrap())
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
    for (kind, image) in kept.into_iter().chain([("ext4", ext4(&place))]) {
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
