//! How far a copy is.

/// How far a copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The bytes of files that are done.
    pub bytes: u64,
    /// The files that are done, and links, and whatever is no directory.
    pub files: u64,
    /// The bytes and files there are, if they were counted.
    pub total: Option<(u64, u64)>,
}

impl Progress {
    /// As bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut numbers = vec![self.bytes, self.files];
        numbers.extend(self.total.into_iter().flat_map(|(bytes, files)| [bytes, files]));
        numbers.into_iter().flat_map(u64::to_ne_bytes).collect()
    }

    /// What was encoded.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let numbers = bytes.chunks(8).map(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes));
        match *numbers.collect::<Option<Vec<_>>>()? {
            [bytes, files] => Some(Self { bytes, files, total: None }),
            [bytes, files, all, count] => Some(Self { bytes, files, total: Some((all, count)) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for total in [None, Some((5, 6))] {
            let progress = Progress { bytes: 1 << 40, files: 7, total };
            assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        }
        assert_eq!(Progress::decode(&[1, 2, 3]), None);
        assert_eq!(Progress::decode(&[0; 24]), None);
    }
}
