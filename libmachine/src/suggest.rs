//! A valid machine name near one that is not.

use registry::{MachineName, NameRule};

use crate::unit_name::UNIT_NAME_MAX;

/// The longest machine name, in bytes.
const MAX: usize = 64;
/// The name where nothing of the given one can be kept.
const FALLBACK: &[u8] = b"machine";

/// A valid name that resembles this text: what is not allowed becomes a hyphen, and of hyphens and dots only those
/// between letters and digits stay. A valid name is its own suggestion.
///
/// # Errors
/// None: the name that stands for nothing kept is a valid one.
pub fn suggest(text: &[u8]) -> Result<MachineName, NameRule> {
    if let Ok(name) = MachineName::new(text) {
        return Ok(name);
    }
    let mut name = [0_u8; MAX];
    let mut length = 0_usize;
    // What stood between the last letter or digit and this place, if anything did.
    let mut separator = None;
    for &byte in text.iter().take(UNIT_NAME_MAX) {
        if !byte.is_ascii_alphanumeric() {
            separator = if byte == b'.' || separator == Some(b'.') { Some(b'.') } else { Some(b'-') };
            continue;
        }
        let between = separator.take().filter(|_| length > 0);
        let needed = if between.is_some() { 2 } else { 1 };
        if length.saturating_add(needed) > MAX {
            break;
        }
        for kept in between.into_iter().chain([byte]) {
            if let Some(slot) = name.get_mut(length) {
                *slot = kept;
            }
            length = length.wrapping_add(1);
        }
    }
    MachineName::new(name.get(..length).unwrap_or_default()).or_else(|_| MachineName::new(FALLBACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_resembles_what_was_given() {
        for (text, name) in [
            ("web", "web"),
            ("my--vm", "my--vm"),
            ("foo_bar", "foo-bar"),
            ("Caf\u{e9} No. 1", "Caf-No.1"),
            (".host", "host"),
            ("-a-", "a"),
            ("a..b", "a.b"),
            ("a-.-b", "a.b"),
            ("unit:x.service", "unit-x.service"),
            ("", "machine"),
            ("___", "machine"),
            ("/var/lib/machines/web", "var-lib-machines-web"),
        ] {
            assert_eq!(suggest(text.as_bytes()).unwrap().as_str(), name, "{text}");
        }
    }

    #[test]
    fn every_suggestion_is_a_name() {
        // A linear congruential generator: the same texts in every run.
        let mut seed = 1_u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..100_000 {
            let text: std::vec::Vec<u8> =
                (0..next(150)).map(|_| b"aZ09-._ \xff/"[usize::try_from(next(10)).unwrap()]).collect();
            let name = suggest(&text).unwrap();
            assert_eq!(MachineName::new(name.as_bytes()), Ok(name));
            if MachineName::new(&text).is_ok() {
                assert_eq!(name.as_bytes(), text);
            }
        }
    }
}
