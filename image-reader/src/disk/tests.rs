use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::*;
use crate::gpt::ROOT;

/// A file system with an operating system, made by its own program; `None` without that.
fn made(kind: &str, options: &[&str]) -> Option<Vec<u8>> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let work = std::env::temp_dir().join(format!("image-reader-{}-{number}", std::process::id()));
    let root = work.join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("usr/lib")).unwrap();
    std::fs::write(root.join("etc/hostname"), "box\n").unwrap();
    std::fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(root.join("usr/lib/os-release"), "ID=test\n").unwrap();
    std::os::unix::fs::symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    std::os::unix::fs::symlink("machine-info", root.join("etc/machine-info")).unwrap();
    let image = work.join("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(if kind == "btrfs" { 128 << 20 } else { 8 << 20 })
        .unwrap();
    let program = ["/usr/sbin", "/sbin", "/usr/bin"].map(|at| Path::new(at).join(format!("mkfs.{kind}")));
    let program: Option<&PathBuf> = program.iter().find(|path| path.exists());
    let bytes = program.map(|program| {
        let root = root.to_str().unwrap();
        let populate = if kind == "btrfs" { ["--rootdir", root] } else { ["-d", root] };
        let done = Command::new(program).arg("-q").args(options).args(populate).arg(&image).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(&image).unwrap()
    });
    std::fs::remove_dir_all(&work).unwrap();
    if bytes.is_none() {
        println!("SKIPPED mkfs.{kind} is not installed");
    }
    bytes
}

fn expected() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("hostname", b"box\n"),
        ("machine-id", b"0123456789abcdef0123456789abcdef\n"),
        ("os-release", b"ID=test\n"),
    ]
}

fn told(image: Vec<u8>) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    read(image.leak()).map(|found| found.0)
}

fn assert_told(image: Vec<u8>, what: &str) {
    let found = told(image).unwrap_or_else(|reason| panic!("{what}: {reason}"));
    let found: Vec<_> = found.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    assert_eq!(found, expected(), "{what}");
}

fn ext4() -> Option<Vec<u8>> {
    static MADE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| made("ext4", &[])).clone()
}

fn btrfs() -> Option<Vec<u8>> {
    static MADE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| made("btrfs", &[])).clone()
}

#[test]
fn the_files_are_read_out_of_every_file_system_that_is_known() {
    for (kind, options) in [("ext2", &[][..]), ("ext3", &[]), ("ext4", &["-b", "1024"])] {
        if let Some(image) = made(kind, options) {
            assert_told(image, kind);
        }
    }
    if let Some(image) = btrfs() {
        assert_told(image, "btrfs");
    }
}

const PLAIN_EROFS: &[u8] = include_bytes!("../../testdata/plain.erofs");
const LZ4_EROFS: &[u8] = include_bytes!("../../testdata/lz4.erofs");
const CHUNKED_EROFS: &[u8] = include_bytes!("../../testdata/chunked.erofs");
const PACKED_EROFS: &[u8] = include_bytes!("../../testdata/packed.erofs");

#[test]
fn an_erofs_is_read_as_far_as_nothing_is_compressed() {
    let info: String = (1..=400).map(|line| format!("LINE{line}=text\n")).collect();
    for (image, has_info) in [(PLAIN_EROFS, true), (CHUNKED_EROFS, true), (LZ4_EROFS, false)] {
        let mut expected = expected();
        if has_info {
            expected.insert(2, ("machine-info", info.as_bytes()));
        }
        let found = read(image).unwrap().0;
        let found: Vec<_> = found.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        assert_eq!(found, expected);
    }
    assert!(told(PACKED_EROFS.to_vec()).unwrap_err().contains("small files put together"));
    assert_told(gpt::disk_of(&[(ROOT, LZ4_EROFS)], 512), "a partition");
    let mut strange = PLAIN_EROFS.to_vec();
    strange[1024 + 80 + 1] = 1;
    assert!(told(strange).unwrap_err().contains("features that nobody here knows: 0x100"));
}

const ZSTD_SQUASHFS: &[u8] = include_bytes!("../../testdata/zstd.squashfs");
const GZIP_SQUASHFS: &[u8] = include_bytes!("../../testdata/gzip.squashfs");
const NONE_SQUASHFS: &[u8] = include_bytes!("../../testdata/none.squashfs");
const XZ_SQUASHFS: &[u8] = include_bytes!("../../testdata/xz.squashfs");

#[test]
fn a_squashfs_is_read_if_it_is_compressed_by_zstd_or_gzip_or_not_at_all() {
    let info: String = (1..=400).map(|line| format!("LINE{line}=text\n")).collect();
    let mut expected = expected();
    expected.insert(2, ("machine-info", info.as_bytes()));
    for image in [ZSTD_SQUASHFS, GZIP_SQUASHFS, NONE_SQUASHFS] {
        let found = read(image).unwrap().0;
        let found: Vec<_> = found.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        assert_eq!(found, expected);
    }
    assert!(told(XZ_SQUASHFS.to_vec()).unwrap_err().contains("compressed by xz"));
    let mut strange = ZSTD_SQUASHFS.to_vec();
    strange[20] = 9;
    assert!(told(strange.clone()).unwrap_err().contains("a method that nobody here knows: 9"));
    strange[28] = 3;
    assert!(told(strange).unwrap_err().contains("makes no sense"));
}

#[test]
fn the_partition_with_the_operating_system_is_read() {
    let Some(image) = ext4() else { return };
    assert_told(gpt::disk_of(&[(ROOT, &image)], 512), "a partition");
    assert_told(gpt::disk_of(&[(ROOT, &image)], 4096), "large sectors");
}

#[test]
fn what_cannot_be_read_is_told_in_words() {
    let mut xfs = vec![0; 4096];
    xfs[..4].copy_from_slice(b"XFSB");
    for (image, reason) in
        [(xfs, "an xfs"), (vec![0; 4096], "nobody here knows"), (vec![1], "nobody here knows")]
    {
        let told = told(image).unwrap_err();
        assert!(told.contains(reason), "{told}");
    }
}

/// Runs with other numbers: `IMAGE_READER_ROUNDS=100000`.
#[test]
#[allow(unsafe_code, reason = "to take back what was leaked")]
fn images_with_changed_bytes_are_read_or_refused() {
    let rounds =
        std::env::var("IMAGE_READER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let seed: u64 = std::env::var("IMAGE_READER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut state = seed;
    // xorshift64.
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    // A btrfs is large, and copied for each round.
    for (image, rounds) in [
        (ext4(), rounds),
        (btrfs(), rounds / 10),
        (Some(PLAIN_EROFS.to_vec()), rounds),
        (Some(CHUNKED_EROFS.to_vec()), rounds),
        (Some(ZSTD_SQUASHFS.to_vec()), rounds),
        (Some(GZIP_SQUASHFS.to_vec()), rounds),
    ] {
        let Some(image) = image else { continue };
        // What is not zero is where something can be changed that is read.
        let places: Vec<usize> = (0..image.len()).filter(|&place| image[place] != 0).collect();
        let (mut good, mut refused) = (0, 0);
        for _ in 0..rounds {
            let mut changed = image.clone();
            for _ in 0..1 + random(16) {
                changed[places[random(places.len())]] = u8::try_from(random(256)).unwrap();
            }
            let changed: &'static mut [u8] = changed.leak();
            let pointer: *mut [u8] = changed;
            // SAFETY: it was leaked above, and what was read is a copy; nobody looks at it after it is taken back.
            match read(unsafe { &*pointer }) {
                Ok(_) => good += 1,
                Err(_) => refused += 1,
            }
            // SAFETY: the same.
            drop(unsafe { Box::from_raw(pointer) });
        }
        assert_eq!(good + refused, rounds);
        println!("{good} read, {refused} refused");
    }
}
