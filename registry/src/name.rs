//! What may be the name of a machine.

use core::fmt;

/// The longest machine name, in bytes (`HOST_NAME_MAX`).
const MAX: usize = 64;

/// The name of the host itself in the table of machines. It is never the name of a record.
pub const HOST_NAME: &str = ".host";

/// The name of a machine: a valid host name of at most 64 bytes, as hostname(7) has it. Case matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineName {
    bytes: [u8; MAX],
    length: u8,
}

/// The rule that a refused machine name breaks.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// The name is empty.
    Empty,
    /// The name has more than 64 bytes.
    TooLong,
    /// This byte is none of `A-Z a-z 0-9 - .`.
    Byte(u8),
    /// The name begins or ends with a dot, or has two dots in a row.
    EmptyLabel,
    /// A label (the text between two dots) begins or ends with a hyphen.
    HyphenAtEdge,
}

impl MachineName {
    /// Checks a name.
    ///
    /// # Errors
    /// The first rule, from left to right, that the name breaks.
    pub fn new(name: &[u8]) -> Result<Self, NameRule> {
        check(name)?;
        let mut bytes = [0; MAX];
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        let length = u8::try_from(name.len()).map_err(|_| NameRule::TooLong)?;
        Ok(Self { bytes, length })
    }

    /// The same name in lower case.
    pub fn in_lower_case(&self) -> Self {
        let mut lower = *self;
        lower.bytes.make_ascii_lowercase();
        lower
    }

    /// The name as bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

fn check(name: &[u8]) -> Result<(), NameRule> {
    if name.is_empty() {
        return Err(NameRule::Empty);
    }
    if name.len() > MAX {
        return Err(NameRule::TooLong);
    }
    // What stood before the current byte; a label begins at the start and after each dot.
    let mut previous = b'.';
    for &byte in name {
        match byte {
            b'.' if previous == b'.' => return Err(NameRule::EmptyLabel),
            b'.' if previous == b'-' => return Err(NameRule::HyphenAtEdge),
            b'-' if previous == b'.' => return Err(NameRule::HyphenAtEdge),
            b'.' | b'-' | b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => {}
            other => return Err(NameRule::Byte(other)),
        }
        previous = byte;
    }
    match previous {
        b'.' => Err(NameRule::EmptyLabel),
        b'-' => Err(NameRule::HyphenAtEdge),
        _ => Ok(()),
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineName({})", self.as_str())
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => f.write_str("it has more than 64 bytes"),
            Self::Byte(byte @ 0x21..=0x7e) => write!(f, "'{}' is not allowed", char::from(*byte)),
            Self::Byte(byte) => write!(f, "byte 0x{byte:02x} is not allowed"),
            Self::EmptyLabel => f.write_str("it begins or ends with a dot, or has two dots in a row"),
            Self::HyphenAtEdge => f.write_str("a part between dots begins or ends with a hyphen"),
        }
    }
}

impl core::error::Error for NameRule {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn host_names_are_machine_names() {
        for name in ["a", "A", "0", "web-1", "a.b.c", "my--vm", "x".repeat(64).as_str()] {
            assert_eq!(MachineName::new(name.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_refused_name_says_which_rule_it_breaks() {
        for (name, rule) in [
            ("", NameRule::Empty),
            ("x".repeat(65).as_str(), NameRule::TooLong),
            ("foo_bar", NameRule::Byte(b'_')),
            ("caf\u{e9}", NameRule::Byte(0xc3)),
            ("a/b", NameRule::Byte(b'/')),
            ("unit:x", NameRule::Byte(b':')),
            (".host", NameRule::EmptyLabel),
            (".", NameRule::EmptyLabel),
            ("..", NameRule::EmptyLabel),
            ("a..b", NameRule::EmptyLabel),
            ("a.", NameRule::EmptyLabel),
            ("-a", NameRule::HyphenAtEdge),
            ("a-", NameRule::HyphenAtEdge),
            ("a-.b", NameRule::HyphenAtEdge),
            ("a.-b", NameRule::HyphenAtEdge),
        ] {
            assert_eq!(MachineName::new(name.as_bytes()), Err(rule), "{name}");
        }
        assert_eq!(NameRule::Byte(b'_').to_string(), "'_' is not allowed");
        assert_eq!(NameRule::Byte(0xc3).to_string(), "byte 0xc3 is not allowed");
    }
}
