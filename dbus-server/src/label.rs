//! The last part of an object path, made of a name that has other characters than a path may have.

use std::fmt;

/// A label of a path: letters, digits and underscores, as sd_bus_path_encode(3) makes it.
///
/// Every byte but letters, and digits that are not the first, is `_` and two hexadecimal digits; nothing at all is `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Label(String);

impl Label {
    /// The label of a name.
    pub fn of(name: &str) -> Self {
        let mut label = String::with_capacity(name.len());
        push(&mut label, name);
        Self(label)
    }

    /// The path of the object that a name stands for below another path.
    pub fn path(parent: &str, name: &str) -> String {
        let mut path = String::with_capacity(parent.len().saturating_add(name.len()).saturating_add(8));
        path.push_str(parent);
        path.push('/');
        push(&mut path, name);
        path
    }

    /// A label as it stands in a path; anything but a slash may.
    pub(crate) fn of_path(part: &str) -> Self {
        Self(part.to_owned())
    }

    /// The label itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name. An underscore that two hexadecimal digits do not follow stands for itself, so that every label has
    /// one; bytes that are no UTF-8 are `None`.
    pub fn name(&self) -> Option<String> {
        if self.0 == "_" {
            return Some(String::new());
        }
        let mut name = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let decoded = match after {
                [high, low, ..] if byte == b'_' => value(*high).zip(value(*low)),
                _ => None,
            };
            match decoded {
                Some((high, low)) => {
                    name.push(high << 4 | low);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => name.push(byte),
            }
        }
        String::from_utf8(name).ok()
    }
}

fn push(text: &mut String, name: &str) {
    if name.is_empty() {
        text.push('_');
    }
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            text.push(char::from(byte));
        } else {
            text.push('_');
            text.extend([byte >> 4, byte & 15].map(digit));
        }
    }
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels_and_come_back() {
        for (name, label) in [
            ("web", "web"),
            (".host", "_2ehost"),
            ("foo-bar", "foo_2dbar"),
            ("1a", "_31a"),
            ("a1", "a1"),
            ("a_b", "a_5fb"),
            ("", "_"),
            ("_", "_5f"),
            ("My-1.x", "My_2d1_2ex"),
            ("é", "_c3_a9"),
        ] {
            assert_eq!(Label::of(name).as_str(), label);
            assert_eq!(Label::of(name).name().as_deref(), Some(name));
            assert_eq!(Label::path("/a/b", name), format!("/a/b/{label}"));
        }
    }

    #[test]
    fn an_underscore_that_escapes_nothing_stands_for_itself() {
        for (label, name) in
            [("_zz", "_zz"), ("a_", "a_"), ("a_2", "a_2"), ("_2Ehost", ".host"), ("__2d", "_-")]
        {
            assert_eq!(Label::of_path(label).name().as_deref(), Some(name));
        }
        assert_eq!(Label::of_path("_ff").name(), None);
    }
}
