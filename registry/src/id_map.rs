//! The maps of a user namespace, user_namespaces(7): which id inside is which id outside.

use core::fmt;

use crate::decimal::parse_u32;
use crate::text::Fields;

/// Users or groups: each has a map of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum IdKind {
    /// uids, `uid_map`.
    User,
    /// gids, `gid_map`.
    Group,
}

/// The lowest id on the host that a machine's user or group can have; those below are the host's own.
pub const FIRST_MACHINE_ID: u32 = 0x1_0000;

/// Whether an id can be a user's or group's at all: the two that mean "none", of 16 and of 32 bits, cannot.
pub const fn is_valid_id(id: u32) -> bool {
    id != 0xffff && id != 0xffff_ffff
}

/// One line of a uid or gid map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRange {
    /// The first id inside the machine.
    pub inside: u32,
    /// The first id on the host.
    pub outside: u32,
    /// How many ids, at least one.
    pub count: u32,
}

impl IdRange {
    /// A range, if it is one: at least one id, and none past the largest.
    pub fn new(inside: u32, outside: u32, count: u32) -> Option<Self> {
        let last = count.checked_sub(1)?;
        inside.checked_add(last)?;
        outside.checked_add(last)?;
        Some(Self { inside, outside, count })
    }

    /// The host's id of an id inside; `None` if the range does not have it.
    pub fn to_host(&self, inside: u32) -> Option<u32> {
        let offset = inside.checked_sub(self.inside).filter(|&offset| offset < self.count)?;
        self.outside.checked_add(offset)
    }

    /// The id inside of a host's id; `None` if the range does not have it.
    pub fn to_machine(&self, outside: u32) -> Option<u32> {
        let offset = outside.checked_sub(self.outside).filter(|&offset| offset < self.count)?;
        self.inside.checked_add(offset)
    }

    /// The last id on the host.
    pub const fn last_outside(&self) -> u32 {
        self.outside.saturating_add(self.count.saturating_sub(1))
    }

    /// The last id inside the machine.
    pub const fn last_inside(&self) -> u32 {
        self.inside.saturating_add(self.count.saturating_sub(1))
    }

    /// Reads `inside:outside:count`, as it stands in a record.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(text, b':');
        let range = Self::from_numbers(|| fields.number())?;
        fields.is_at_end().then_some(range)
    }

    fn from_numbers(mut number: impl FnMut() -> Option<u32>) -> Option<Self> {
        let (inside, outside, count) = (number()?, number()?, number()?);
        Self::new(inside, outside, count)
    }
}

/// The lines of `/proc/PID/uid_map` or `gid_map`; a line that is no range ends in `None`.
pub fn parse_kernel_map(text: &[u8]) -> impl Iterator<Item = Option<IdRange>> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let range = IdRange::from_numbers(|| parse_u32(words.next()?))?;
        words.next().is_none().then_some(range)
    })
}

/// The host's id of an id inside; `None` if no range has it.
pub fn map_to_host(map: &[IdRange], inside: u32) -> Option<u32> {
    map.iter().find_map(|range| range.to_host(inside))
}

/// The id inside of a host's id; `None` if no range has it.
pub fn map_to_machine(map: &[IdRange], outside: u32) -> Option<u32> {
    map.iter().find_map(|range| range.to_machine(outside))
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn a_range_survives_a_round_trip_and_nonsense_is_refused() {
        assert_eq!(IdRange::parse(b"0:100000:65536").unwrap().to_string(), "0:100000:65536");
        for text in ["", "0:1", "0:1:0", "0:1:2:3", "-1:0:1", "0:4294967295:2", "0:0:4294967296", "a:b:c"] {
            assert_eq!(IdRange::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn ids_are_translated_both_ways_through_all_lines() {
        let map: Vec<_> =
            parse_kernel_map(b"         0     100000      65536\n     65536       1000          1\n")
                .collect::<Option<_>>()
                .unwrap();
        assert_eq!(map_to_host(&map, 0), Some(100_000));
        assert_eq!(map_to_host(&map, 65_536), Some(1000));
        assert_eq!(map_to_host(&map, 65_537), None);
        assert_eq!(map_to_machine(&map, 165_535), Some(65_535));
        assert_eq!(map_to_machine(&map, 1000), Some(65_536));
        assert_eq!(map_to_machine(&map, 99_999), None);
    }

    #[test]
    fn the_identity_map_of_the_whole_range_is_a_range() {
        let map: Vec<_> = parse_kernel_map(b"0 0 4294967295\n").collect::<Option<_>>().unwrap();
        assert_eq!(map_to_host(&map, 4_294_967_294), Some(4_294_967_294));
        assert_eq!(map_to_host(&map, 4_294_967_295), None);
    }
}
