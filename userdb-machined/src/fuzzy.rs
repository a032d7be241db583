//! Whether a name is much like another: how userdb searches.

/// A search text of fewer bytes has to be a part of the name.
const LONG_ENOUGH: usize = 5;
/// A longer one is found with fewer changes than this.
const CHANGES: usize = 3;

/// Whether `sought` is a part of `name`, or the whole of it but for two letters; case does not matter.
pub fn is_like(name: &str, sought: &str) -> bool {
    // However long a text is, it costs no more than one that may be found.
    if sought.len() >= name.len() + CHANGES {
        return false;
    }
    let (name, sought) = (name.to_ascii_lowercase(), sought.to_ascii_lowercase());
    name.contains(&sought)
        || (sought.len() >= LONG_ENOUGH && distance(name.as_bytes(), sought.as_bytes()) < CHANGES)
}

/// How many bytes have to be inserted, removed or replaced to get from one to the other (Levenshtein's distance); counted
/// to [`CHANGES`].
fn distance(one: &[u8], other: &[u8]) -> usize {
    if one.len().abs_diff(other.len()) >= CHANGES {
        return CHANGES;
    }
    // The distances of the part of `one` so far from every start of `other`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (taken, byte) in one.iter().enumerate() {
        let mut diagonal = taken;
        let mut left = taken + 1;
        let mut next = vec![left];
        for (above, against) in row.iter().skip(1).zip(other) {
            left = (diagonal + usize::from(byte != against)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default().min(CHANGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_finds_it_in_any_case() {
        for sought in ["vu-web-0", "web", "WEB", "-", "0", ""] {
            assert!(is_like("vu-Web-0", sought), "{sought}");
        }
        for sought in ["wbe", "vu-web-00000", "x", "vu-web-0\u{e9}\u{e9}"] {
            assert!(!is_like("vu-web-0", sought), "{sought}");
        }
    }

    #[test]
    fn a_long_text_may_differ_in_two_letters() {
        for sought in ["vu-wob-0", "vu-wob-1", "vuweb0", "vu-web-012", "uv-web-0", "vu-wb-00"] {
            assert!(is_like("vu-web-0", sought), "{sought}");
        }
        for sought in ["vu-wob-12", "vuwob0", "vu-web-0123", "uv-bew-0"] {
            assert!(!is_like("vu-web-0", sought), "{sought}");
        }
    }

    #[test]
    fn the_distance_is_levenshteins() {
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("abc", "cab", 2),
            ("ab", "", 2),
        ] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            assert_eq!(distance(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
        }
        assert_eq!(distance(b"abc", b"xyz"), CHANGES);
        assert_eq!(distance(b"", b"xyz"), CHANGES);
    }
}
