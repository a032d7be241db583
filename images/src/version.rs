//! Which of two versions is newer: the UAPI group's Version Format Specification, as systemd-analyze(1)
//! `compare-versions` has it.

use std::cmp::Ordering;

fn is_known(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'^' | b'.')
}

fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_skipped(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// Compares what two versions begin with, if one of them begins with this. `None`: they go on, both without it.
fn separator(one: &mut &[u8], other: &mut &[u8], byte: u8, alone: Ordering) -> Option<Ordering> {
    match (one.strip_prefix(&[byte]), other.strip_prefix(&[byte])) {
        (Some(one_rest), Some(other_rest)) => {
            (*one, *other) = (one_rest, other_rest);
            None
        }
        (Some(_), None) => Some(alone),
        (None, Some(_)) => Some(alone.reverse()),
        (None, None) => None,
    }
}

fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let (_, rest) = skip(text, |byte| byte == b'0');
    let (digits, rest) = skip(rest, |byte| byte.is_ascii_digit());
    *text = rest;
    digits
}

/// Capitals come before small letters, and a word before one that goes on.
fn word<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let (letters, rest) = skip(text, |byte| byte.is_ascii_alphabetic());
    *text = rest;
    letters
}

/// Compares two versions.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        (_, one) = skip(one, |byte| !is_known(byte));
        (_, other) = skip(other, |byte| !is_known(byte));
        if let Some(order) = separator(&mut one, &mut other, b'~', Ordering::Less) {
            return order;
        }
        // The one that goes on is newer.
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        for byte in *b"-^." {
            if let Some(order) = separator(&mut one, &mut other, byte, Ordering::Less) {
                return order;
            }
        }
        let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order = if is_number(one) || is_number(other) {
            // A number is newer than a word, whatever it is.
            is_number(one).cmp(&is_number(other)).then_with(|| {
                let (one, other) = (number(&mut one), number(&mut other));
                one.len().cmp(&other.len()).then_with(|| one.cmp(other))
            })
        } else {
            word(&mut one).cmp(word(&mut other))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_says() {
        // Each is older than the next; from the specification's own examples.
        let ordered = [
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ];
        for (place, older) in ordered.iter().enumerate() {
            assert_eq!(compare(older, older), Ordering::Equal, "{older}");
            for newer in &ordered[place + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
            }
        }
        for (one, other) in [("1.02", "1.2"), ("1_2", "1+2"), ("", "_")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
        assert_eq!(compare("", "~rc"), Ordering::Greater);
        assert_eq!(compare("9", "10"), Ordering::Less);
        assert_eq!(compare("18446744073709551616", "18446744073709551615"), Ordering::Greater);
    }
}
