//! What inotify(7) tells, cut apart.

use registry::MachineName;

/// `struct inotify_event`: the watch, the mask, a cookie, the length of the name.
const MASK_AT: usize = 4;
const LENGTH_AT: usize = 12;
const NAME_AT: usize = 16;

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The watch that it is of; -1 for an overflow.
    pub watch: i32,
    /// What happened.
    pub mask: u32,
    /// The machine that the name of the entry may be, if it is one.
    pub name: Option<MachineName>,
    /// How many bytes it has.
    pub length: usize,
}

/// The mask of the first event of these bytes, the name of its entry with the zero bytes behind it, and what follows.
pub fn split_first(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    let length = usize::try_from(number(LENGTH_AT)?).ok()?;
    let (entry, behind) = bytes.get(NAME_AT..)?.split_at_checked(length)?;
    Some((number(MASK_AT)?, entry, behind))
}

impl Notice {
    /// The first of these bytes; `None` if there is none.
    pub fn first(bytes: &[u8]) -> Option<Self> {
        let (mask, entry, behind) = split_first(bytes)?;
        let name = entry.split(|&byte| byte == 0).next()?;
        Some(Self {
            watch: i32::from_ne_bytes(*bytes.first_chunk()?),
            mask,
            name: MachineName::new(name).ok(),
            length: bytes.len().saturating_sub(behind.len()),
        })
    }

    /// Whether any of these bits is set.
    pub const fn is_any(&self, bits: u32) -> bool {
        self.mask & bits != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn events_are_cut_apart() {
        let mut bytes = Vec::new();
        for (mask, text) in
            [(libc::IN_MOVED_TO, "web\0\0\0\0\0"), (libc::IN_DELETE, "unit:x\0\0"), (libc::IN_Q_OVERFLOW, "")]
        {
            bytes.extend(1_i32.to_ne_bytes());
            bytes.extend(mask.to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            bytes.extend(u32::try_from(text.len()).unwrap().to_ne_bytes());
            bytes.extend(text.as_bytes());
        }
        let web = MachineName::new(b"web").unwrap();
        let notice = |mask, name, length| Some(Notice { watch: 1, mask, name, length });
        assert_eq!(Notice::first(&bytes), notice(libc::IN_MOVED_TO, Some(web), 24));
        assert_eq!(Notice::first(&bytes[24..]), notice(libc::IN_DELETE, None, 24));
        assert_eq!(Notice::first(&bytes[48..]), notice(libc::IN_Q_OVERFLOW, None, 16));
        assert_eq!(Notice::first(&bytes[64..]), None);
        assert_eq!(Notice::first(&bytes[..20]), None);
    }
}
