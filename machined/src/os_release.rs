//! The format of os-release(5), as far as its text may be carried on.

use std::collections::{HashMap, hash_map};

use rustix::io::Errno;

/// How many keys a file may have. Those of today's systems have about 20.
const KEYS: usize = 1024;

/// The `KEY=value` pairs of one file.
pub type Fields = Vec<(String, String)>;

/// The pairs of a file, each key once, with its last value.
///
/// # Errors
/// `EINVAL`: a key or a value cannot be carried on: D-Bus takes no NUL and nothing but UTF-8, and whoever prints a value
/// wants no control characters in it. `EFBIG`: there are more than [`KEYS`] keys.
pub fn parse(text: &[u8]) -> Result<Fields, Errno> {
    let mut fields = Fields::new();
    let mut places = HashMap::new();
    for (key, value) in registry::parse_env_file(text) {
        let value = carried(value, |c| c == '\t' || c == '\n')?;
        match places.entry(carried(key, |_| false)?) {
            hash_map::Entry::Occupied(place) => {
                if let Some((_, old)) = fields.get_mut(*place.get()) {
                    *old = value;
                }
            }
            hash_map::Entry::Vacant(place) => {
                if fields.len() >= KEYS {
                    return Err(Errno::FBIG);
                }
                fields.push((place.key().clone(), value));
                place.insert(fields.len().saturating_sub(1));
            }
        }
    }
    Ok(fields)
}

/// Text without control characters, but for those that are allowed.
fn carried(bytes: Vec<u8>, is_allowed: impl Fn(char) -> bool) -> Result<String, Errno> {
    let text = String::from_utf8(bytes).map_err(|_| Errno::INVAL)?;
    if text.chars().any(|c| c.is_control() && !is_allowed(c)) { Err(Errno::INVAL) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_at_its_first_place() {
        let fields = parse(b"ID=debian\nVERSION_ID=\"12\"\nID='sid'\n").unwrap();
        assert_eq!(fields, [("ID".into(), "sid".into()), ("VERSION_ID".into(), "12".into())]);
    }

    #[test]
    fn what_no_reply_can_carry_makes_a_file_invalid() {
        for damaged in
            ["EVIL=a\0b\n", "EV\0IL=ab\n", "EVIL='\u{1b}[2J'\n", "E\tVIL=a\n", "A=1\nB=\u{9b}\n", "A=\u{7f}"]
        {
            assert_eq!(parse(damaged.as_bytes()), Err(Errno::INVAL), "{damaged:?}");
        }
        for damaged in [&b"A=\xff\n"[..], b"\xff=a\n", b"A=\xed\xa0\x80\n"] {
            assert_eq!(parse(damaged), Err(Errno::INVAL), "{damaged:?}");
        }
        assert_eq!(parse("A='a\tb\nc'\n\u{c4}=\u{fffe}\n".as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn any_text_is_an_os_release_that_replies_can_carry_or_an_error() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/os-release");
        let words = ["ID=", "=", "\"", "'", "\n", "\\", "\u{85}", "\u{7f}", "\0", "PRETTY_NAME=", "#"];
        fuzzing::Target { corpus, words: &words, longest: 4096 }.run(|text| {
            let Ok(fields) = parse(text) else { return };
            let keys: std::collections::HashSet<_> = fields.iter().map(|(key, _)| key).collect();
            assert!(fields.len() <= KEYS && keys.len() == fields.len());
            for (key, value) in &fields {
                assert!(!key.chars().any(char::is_control), "{key:?}");
                assert!(!value.chars().any(|c| c.is_control() && c != '\t' && c != '\n'), "{value:?}");
            }
        });
    }

    #[test]
    fn a_file_has_so_many_keys_at_the_most() {
        let of = |keys: usize| (0..keys).map(|key| format!("K{key}=\nK{key}=x\n")).collect::<String>();
        assert_eq!(parse(of(KEYS).as_bytes()).unwrap().len(), KEYS);
        assert_eq!(parse(of(KEYS + 1).as_bytes()), Err(Errno::FBIG));
    }
}
