//! A valid machine name near one that is not.

use core::fmt;

use registry::{MachineName, NameRule};

use crate::unit_name::UNIT_NAME_MAX;

/// The longest machine name, in bytes.
const MAX: usize = 64;
/// How many characters of a name an error shows.
const SHOWN: usize = 80;
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

/// Text that is no machine name. Its words name the text, the rule that it breaks and a name that breaks none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedName<'a> {
    text: &'a str,
    rule: NameRule,
}

/// Checks a machine name.
///
/// # Errors
/// In words, why it is none and which resembles it.
pub fn checked_name(text: &str) -> Result<MachineName, RefusedName<'_>> {
    MachineName::new(text.as_bytes()).map_err(|rule| RefusedName { text, rule })
}

impl fmt::Display for RefusedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("machine name '")?;
        // Nobody reads more, and it may be long.
        for character in self.text.chars().take(SHOWN) {
            write!(f, "{}", character.escape_debug())?;
        }
        let cut = if self.text.chars().nth(SHOWN).is_some() { "..." } else { "" };
        write!(f, "{cut}': {}", self.rule)?;
        match suggest(self.text.as_bytes()) {
            Ok(name) => write!(f, " (try '{name}')"),
            Err(_) => Ok(()),
        }
    }
}

impl core::error::Error for RefusedName<'_> {}

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

    #[test]
    fn a_refusal_names_the_rule_and_a_way_out() {
        let words = |text: &str| std::format!("{}", checked_name(text).unwrap_err());
        assert_eq!(words("foo_bar"), "machine name 'foo_bar': '_' is not allowed (try 'foo-bar')");
        assert_eq!(words(""), "machine name '': it is empty (try 'machine')");
        assert_eq!(words("a\nb"), "machine name 'a\\nb': byte 0x0a is not allowed (try 'a-b')");
        assert!(words(&"x".repeat(1 << 20)).len() < 300);
    }
}
