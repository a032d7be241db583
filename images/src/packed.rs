//! Images as bytes, for another process of the same program: nothing of it is kept, and whoever reads it has it from itself.

use crate::image::{Image, Kind, Space};

const KINDS: [Kind; 5] = [Kind::Directory, Kind::Subvolume, Kind::Raw, Kind::Block, Kind::Mstack];
const READ_ONLY: u8 = 1;
const VENDOR: u8 = 2;
/// The first of those for what an image takes: each says that the size is known.
const SIZES: u8 = 4;

/// Appends an image: its kind, flags, times, the sizes that are known, and its name and path, each behind its length.
pub fn pack(image: &Image, bytes: &mut Vec<u8>) {
    let Image { name, path, kind, read_only, vendor, created, modified, space } = image;
    let kind = KINDS.iter().position(|one| one == kind).and_then(|place| u8::try_from(place).ok());
    let Space { usage, usage_exclusive, limit, limit_exclusive } = *space;
    let sizes = [usage, usage_exclusive, limit, limit_exclusive];
    let mut flags = if *read_only { READ_ONLY } else { 0 } | if *vendor { VENDOR } else { 0 };
    for (place, size) in sizes.iter().enumerate() {
        flags |= if size.is_some() { SIZES << place } else { 0 };
    }
    bytes.extend([kind.unwrap_or_default(), flags]);
    for number in [created, modified].into_iter().chain(sizes.iter().flatten()) {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    for text in [name, path] {
        bytes.extend_from_slice(&text.len().to_ne_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// The images that were packed one behind the other; `None` if that is no such thing.
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<Image>> {
    let mut images = Vec::new();
    while !bytes.is_empty() {
        images.push(unpack_one(&mut bytes)?);
    }
    Some(images)
}

fn unpack_one(bytes: &mut &[u8]) -> Option<Image> {
    let [kind, flags] = take(bytes)?;
    let kind = *KINDS.get(usize::from(kind))?;
    let [created, modified] = [number(bytes)?, number(bytes)?];
    let mut sizes = [None; 4];
    for (place, size) in sizes.iter_mut().enumerate() {
        if flags & SIZES << place != 0 {
            *size = Some(number(bytes)?);
        }
    }
    let [usage, usage_exclusive, limit, limit_exclusive] = sizes;
    let space = Space { usage, usage_exclusive, limit, limit_exclusive };
    let [name, path] = [text(bytes)?, text(bytes)?];
    let [read_only, vendor] = [READ_ONLY, VENDOR].map(|flag| flags & flag != 0);
    Some(Image { name, path, kind, read_only, vendor, created, modified, space })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_ne_bytes)
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = take(bytes).map(usize::from_ne_bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<Image> {
        let image = |number: u64, kind| {
            let size = |bit: u64| (number >> bit & 1 != 0).then_some(number << 40 | bit);
            let space =
                Space { usage: size(0), usage_exclusive: size(1), limit: size(2), limit_exclusive: size(3) };
            Image {
                name: "ä\n".repeat(usize::try_from(number).unwrap()),
                path: format!("/var/lib/machines/{number}"),
                kind,
                read_only: number & 1 != 0,
                vendor: number & 2 != 0,
                created: u64::MAX - number,
                modified: number,
                space,
            }
        };
        (0..80).zip(KINDS.into_iter().cycle()).map(|(number, kind)| image(number, kind)).collect()
    }

    #[test]
    fn images_are_unpacked_as_they_were_packed() {
        let mut bytes = Vec::new();
        images().iter().for_each(|image| pack(image, &mut bytes));
        assert_eq!(unpack(&bytes), Some(images()));
        assert_eq!(unpack(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_was_not_packed_is_no_image() {
        let mut bytes = Vec::new();
        images().iter().take(20).for_each(|image| pack(image, &mut bytes));
        let ends: Vec<usize> = images()
            .iter()
            .take(20)
            .scan(0, |end, image| {
                let mut one = Vec::new();
                pack(image, &mut one);
                *end += one.len();
                Some(*end)
            })
            .collect();
        for length in 1..bytes.len() {
            assert_eq!(unpack(&bytes[..length]).is_some(), ends.contains(&length), "{length}");
        }
        for place in 0..bytes.len() {
            for byte in [0xff, 0x80, 5] {
                let mut changed = bytes.clone();
                changed[place] = byte;
                // Whatever it is now: nothing panics, and nothing is as long as it says.
                let _ = unpack(&changed);
            }
        }
        assert_eq!(unpack(&[5; 200]), None);
    }
}
