//! Whose ids are whose: the ranges of /etc/subuid, subuid(5), count as their owner's, who can be any of them.

use std::cell::RefCell;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;

/// Below this no range begins, as far as useradd(8) is concerned; most callers are not looked up at all.
const FIRST: u32 = 1 << 16;
/// How large the files may be that are read.
const BYTES_MAX: u64 = 1 << 20;

/// Who owns which ranges, as the files say now.
#[derive(Debug, Default)]
pub struct Owners(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What the file was like that was read: its inode, size and times.
    state: Option<(u64, u64, i64, i64)>,
    ranges: Vec<(RangeInclusive<u32>, u32)>,
}

impl Owners {
    /// The user whose processes may have this uid: the owner of its range, or itself.
    pub fn of(&self, uid: u32) -> u32 {
        if uid < FIRST {
            return uid;
        }
        let mut known = self.0.borrow_mut();
        let now = fs::metadata("/etc/subuid").ok().filter(|file| file.len() <= BYTES_MAX);
        let state = now.map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()));
        if state != known.state {
            known.state = state;
            known.ranges = state.map(|_| read()).unwrap_or_default();
        }
        let range = known.ranges.iter().find(|(range, _)| range.contains(&uid));
        range.map_or(uid, |(_, owner)| *owner)
    }
}

fn read() -> Vec<(RangeInclusive<u32>, u32)> {
    let text = |path| {
        let file = fs::metadata(path).ok().filter(|file| file.len() <= BYTES_MAX);
        file.and_then(|_| fs::read(path).ok()).unwrap_or_default()
    };
    // No NSS: a lookup may ask this very service.
    ranges(&String::from_utf8_lossy(&text("/etc/subuid")), &String::from_utf8_lossy(&text("/etc/passwd")))
}

/// `owner:first:count`, where the owner is a name or a number.
fn ranges(subuid: &str, passwd: &str) -> Vec<(RangeInclusive<u32>, u32)> {
    let uid_of = |name: &str| {
        let named = || {
            let mut users = passwd.lines().map(|line| line.split(':'));
            users.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
        };
        name.parse().ok().or_else(named)
    };
    let range = |line: &str| {
        let mut fields = line.split(':');
        let owner: u32 = uid_of(fields.next()?)?;
        let first: u32 = fields.next()?.trim().parse().ok()?;
        let count: u32 = fields.next()?.trim().parse().ok()?;
        Some((first..=first.saturating_add(count.checked_sub(1)?), owner))
    };
    subuid.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_as_its_owners() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let subuid = "ann:100000:65536\n1001:165536:10\nnobodys:300000:5\nann:x:1\n# no\nann:400000:0\n";
        assert_eq!(ranges(subuid, passwd), [(100_000..=165_535, 1000), (165_536..=165_545, 1001)]);
    }

    #[test]
    fn who_has_no_range_is_himself() {
        let owners = Owners::default();
        assert_eq!((owners.of(0), owners.of(1000)), (0, 1000));
        assert_eq!(owners.of(u32::MAX - 7), u32::MAX - 7);
    }
}
