//! The partition table, UEFI Specification 5.3, and which partition has the operating system, the UAPI group's Discoverable
//! Partitions Specification.

const SECTORS: [usize; 2] = [512, 4096];
/// How many partitions are looked at.
const MOST: usize = 128;
/// The attribute of a partition that nobody is to use without being told to.
const NO_AUTO: u64 = 1 << 63;

/// Types of partitions: the root directory and /usr of this architecture, and Linux's for whatever there is. Of one that is not
/// named here, s390x's, which no disk for it has.
pub(crate) const ROOT: &str = if cfg!(target_arch = "x86_64") {
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
} else if cfg!(target_arch = "aarch64") {
    "b921b045-1df0-41c3-af44-4c6f280d3fae"
} else if cfg!(target_arch = "riscv64") {
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224"
} else if cfg!(target_arch = "x86") {
    "44479540-f297-41b2-9af7-d131d5f0458a"
} else if cfg!(target_arch = "arm") {
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "c31c45e6-3f39-412e-80fb-4809c4980599"
} else {
    "5eead9a9-fe09-4a1e-a1d7-520d00531306"
};
const USR: &str = if cfg!(target_arch = "x86_64") {
    "8484680c-9521-48c6-9c11-b0720656f69e"
} else if cfg!(target_arch = "aarch64") {
    "b0e01050-ee5f-4390-949a-9101b17104e9"
} else if cfg!(target_arch = "riscv64") {
    "beaec34b-8442-439b-a40b-984381ed097d"
} else if cfg!(target_arch = "x86") {
    "75250d76-8cc6-458e-bd66-bd47cc81a812"
} else if cfg!(target_arch = "arm") {
    "7d0359a3-02b3-4f0a-865c-654403e70625"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "15bb03af-77e7-4d4a-b12b-c0d084f7491c"
} else {
    "8a4f5770-50aa-4ed3-874a-99b710db6fea"
};
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

/// A partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    pub(crate) bytes: &'static [u8],
    /// Whether it has what is in /usr, and no more.
    pub(crate) is_usr: bool,
}

/// A table, and its sectors' size.
struct Table {
    header: &'static [u8],
    sector: usize,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number.get_mut(..N)?.copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(number))
}

/// Finds the partition with the operating system; `None` if there is no partition table.
pub(crate) fn find(disk: &'static [u8]) -> Option<Result<Partition, String>> {
    let table = SECTORS.into_iter().find_map(|sector| Table::at(disk, sector))?;
    let found: Vec<_> = (0..MOST).map_while(|place| table.entry(disk, place)).flatten().collect();
    let of_type = |wanted: &str| {
        let wanted = guid(wanted);
        found.iter().filter(move |(kind, _)| Some(*kind) == wanted).map(|(_, bytes)| *bytes)
    };
    if let Some(bytes) = of_type(ROOT).next() {
        return Some(Ok(Partition { bytes, is_usr: false }));
    }
    if let Some(bytes) = of_type(USR).next() {
        return Some(Ok(Partition { bytes, is_usr: true }));
    }
    let mut any = of_type(LINUX);
    Some(match (any.next(), any.next()) {
        (Some(bytes), None) => Ok(Partition { bytes, is_usr: false }),
        (None, _) => Err("it has no partition with an operating system for this computer".to_owned()),
        (Some(_), Some(_)) => {
            Err("it has several partitions that could have its operating system".to_owned())
        }
    })
}

impl Table {
    fn at(disk: &'static [u8], sector: usize) -> Option<Self> {
        let header = disk.get(sector..sector.checked_mul(2)?)?;
        if header.get(..8) != Some(b"EFI PART") {
            return None;
        }
        let length =
            usize::try_from(number::<4>(header, 12)?).ok().filter(|length| (92..=512).contains(length))?;
        let mut summed = header.get(..length)?.to_vec();
        summed.get_mut(16..20)?.fill(0);
        (u64::from(crc32(&summed)) == number::<4>(header, 16)?).then_some(Self { header, sector })
    }

    /// An entry; the inner `None` if it is empty, or not to be used. `None`: there are no more.
    fn entry(&self, disk: &'static [u8], place: usize) -> Option<Option<([u8; 16], &'static [u8])>> {
        let place64 = u64::try_from(place).ok()?;
        let (start, count, size) =
            (number::<8>(self.header, 72)?, number::<4>(self.header, 80)?, number::<4>(self.header, 84)?);
        if place64 >= count || !(128..=4096).contains(&size) {
            return None;
        }
        let at = self.bytes(start)?.checked_add(place.checked_mul(usize::try_from(size).ok()?)?)?;
        let entry = disk.get(at..at.checked_add(128)?)?;
        Some(self.described(disk, entry))
    }

    fn described(&self, disk: &'static [u8], entry: &[u8]) -> Option<([u8; 16], &'static [u8])> {
        let kind: [u8; 16] = entry.get(..16)?.try_into().ok()?;
        let (first, last, attributes) =
            (number::<8>(entry, 32)?, number::<8>(entry, 40)?, number::<8>(entry, 48)?);
        if kind == [0; 16] || attributes & NO_AUTO != 0 {
            return None;
        }
        Some((kind, disk.get(self.bytes(first)?..self.bytes(last.checked_add(1)?)?)?))
    }

    fn bytes(&self, sectors: u64) -> Option<usize> {
        usize::try_from(sectors).ok()?.checked_mul(self.sector)
    }
}

/// The bytes of a UUID in a partition table: the first three numbers begin with their lowest byte.
fn guid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let bytes = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut guid = [0; 16];
    for (byte, from) in guid.iter_mut().zip(order) {
        *byte = *bytes.get::<usize>(from)?;
    }
    Some(guid)
}

/// The checksum of the table, ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| {
                if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0xEDB8_8320 }
            },
        )
    })
}

/// A disk with partitions, for the tests: of these types, with these bytes.
#[cfg(test)]
pub(crate) fn disk_of(partitions: &[(&str, &[u8])], sector: usize) -> Vec<u8> {
    let mut disk = vec![0; 64 * sector];
    let mut entries = Vec::new();
    for (kind, bytes) in partitions {
        let first = disk.len() / sector;
        disk.extend_from_slice(bytes);
        disk.resize(disk.len().next_multiple_of(sector), 0);
        let mut entry = vec![0; 128];
        entry[..16].copy_from_slice(&guid(kind).unwrap());
        entry[32..40].copy_from_slice(&u64::try_from(first).unwrap().to_le_bytes());
        entry[40..48].copy_from_slice(&u64::try_from(disk.len() / sector - 1).unwrap().to_le_bytes());
        entries.extend_from_slice(&entry);
    }
    disk[2 * sector..2 * sector + entries.len()].copy_from_slice(&entries);
    let mut header = vec![0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[72..80].copy_from_slice(&2_u64.to_le_bytes());
    header[80..84].copy_from_slice(&u32::try_from(partitions.len()).unwrap().to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    disk[sector..sector + 92].copy_from_slice(&header);
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";

    fn found(partitions: &[(&str, &[u8])], sector: usize) -> Option<Result<(u8, bool), String>> {
        let disk = disk_of(partitions, sector).leak();
        find(disk).map(|found| found.map(|partition| (partition.bytes[0], partition.is_usr)))
    }

    #[test]
    fn the_root_is_found_before_usr_and_that_before_any_other() {
        for sector in SECTORS {
            let all: [(&str, &[u8]); 4] = [(SWAP, b"s"), (LINUX, b"l"), (USR, b"u"), (ROOT, b"r")];
            assert_eq!(found(&all, sector), Some(Ok((b'r', false))));
            assert_eq!(found(&all[..3], sector), Some(Ok((b'u', true))));
            assert_eq!(found(&all[..2], sector), Some(Ok((b'l', false))));
            assert!(matches!(found(&all[..1], sector), Some(Err(_))));
            assert!(matches!(found(&[(LINUX, b"1"), (LINUX, b"2")], sector), Some(Err(_))));
        }
        assert_eq!(find(&[0; 8192]).map(|_| ()), None);
    }

    #[test]
    fn a_table_that_was_changed_is_none() {
        let mut disk = disk_of(&[(ROOT, b"r")], 512);
        disk[512 + 80] ^= 1;
        assert!(find(disk.leak()).is_none());
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
