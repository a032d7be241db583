//! How far a copy is, as bytes.

use images::Progress;

/// As bytes.
pub(super) fn encode(progress: &Progress) -> Vec<u8> {
    let mut numbers = vec![progress.bytes, progress.files];
    numbers.extend(progress.total.into_iter().flat_map(|(bytes, files)| [bytes, files]));
    numbers.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// What was encoded.
pub(super) fn decode(bytes: &[u8]) -> Option<Progress> {
    let numbers = bytes.chunks(8).map(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes));
    match *numbers.collect::<Option<Vec<_>>>()? {
        [bytes, files] => Some(Progress { bytes, files, total: None }),
        [bytes, files, all, count] => Some(Progress { bytes, files, total: Some((all, count)) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for total in [None, Some((5, 6))] {
            let progress = Progress { bytes: 1 << 40, files: 7, total };
            assert_eq!(decode(&encode(&progress)), Some(progress));
        }
        assert_eq!(decode(&[1, 2, 3]), None);
        assert_eq!(decode(&[0; 24]), None);
    }
}
