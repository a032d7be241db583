//! What can be told of a machine beyond its registration.

use registry::{Class, IdRange, Record};

use crate::error::Error;

/// How many ids a range must have to hold all of an OS's.
const ALL_IDS: u32 = 65_534;

/// By how much the ids of a container are shifted on the host.
///
/// # Errors
/// [`Error::NotAvailable`]: it is no container. [`Error::NoUidShift`]: its maps are not one and the same range that
/// begins at 0 and holds all ids.
pub fn uid_shift(record: &Record) -> Result<u32, Error> {
    match (record.class, record.uid_map.as_slice(), record.gid_map.as_slice()) {
        (Class::Vm, ..) => Err(Error::NotAvailable),
        // No user namespace at all.
        (_, [], []) => Ok(0),
        (_, [uid], [gid]) if uid == gid && is_shift(uid) => Ok(uid.outside),
        _ => Err(Error::NoUidShift),
    }
}

fn is_shift(range: &IdRange) -> bool {
    range.inside == 0 && range.count >= ALL_IDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::MachineName;

    #[test]
    fn only_one_range_for_all_ids_is_a_shift() {
        let whole = IdRange::new(0, 100_000, 65_536).unwrap();
        let identity = IdRange::new(0, 0, u32::MAX).unwrap();
        let small = IdRange::new(0, 100_000, 65_533).unwrap();
        let inner = IdRange::new(1, 100_000, 65_536).unwrap();
        let mut record = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        for (uid_map, gid_map, shift) in [
            (vec![], vec![], Some(0)),
            (vec![identity], vec![identity], Some(0)),
            (vec![whole], vec![whole], Some(100_000)),
            (vec![whole], vec![identity], None),
            (vec![whole, inner], vec![whole, inner], None),
            (vec![small], vec![small], None),
            (vec![inner], vec![inner], None),
        ] {
            (record.uid_map, record.gid_map) = (uid_map, gid_map);
            assert_eq!(uid_shift(&record).ok(), shift, "{:?}", record.uid_map);
        }
        record.class = Class::Vm;
        assert!(matches!(uid_shift(&record), Err(Error::NotAvailable)));
    }
}
