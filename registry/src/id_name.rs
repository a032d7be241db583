//! The names of a machine's users and groups on the host: `vu-MACHINE-UID` and `vg-MACHINE-GID`.
//!
//! A user name has at most 31 bytes: a letter or `_`, then letters, digits, `_` and `-`. Where the name of the machine
//! makes none, because it has a dot or is too long, its [`Alias`] takes its place.

use core::fmt;

use crate::decimal::{Decimal, parse_u32};
use crate::path::{ALIAS_DIRECTORY, Path, entry_path, hex_digit};
use crate::sha256::sha256;
use crate::text::{Text, has};
use crate::{IdKind, MachineName, is_valid_id};

/// The longest user name, in bytes.
const MAX: usize = 31;

impl IdKind {
    /// What the names of this kind begin with.
    pub const fn name_prefix(self) -> &'static [u8] {
        match self {
            Self::User => b"vu-",
            Self::Group => b"vg-",
        }
    }
}

/// The name of a user or group of a machine.
#[derive(Clone, Copy)]
pub struct IdName(Text<MAX>);

impl IdName {
    /// The name of this id inside the machine; `None` if it would be no user name.
    pub fn new(kind: IdKind, machine: &MachineName, inside: u32) -> Option<Self> {
        if has(machine.as_bytes(), b'.') {
            return None;
        }
        Self::build(kind, machine.as_bytes(), inside)
    }

    /// The name of this id inside the machine that has the alias.
    pub fn of_alias(kind: IdKind, alias: &Alias, inside: u32) -> Option<Self> {
        Self::build(kind, alias.as_bytes(), inside)
    }

    fn build(kind: IdKind, machine: &[u8], inside: u32) -> Option<Self> {
        let mut text = Text::EMPTY;
        text.push_all(kind.name_prefix());
        text.push_all(machine);
        text.push(b'-');
        text.push_all(Decimal::new(inside).as_bytes());
        text.get().is_some().then_some(Self(text))
    }

    /// The machine, or what may be its alias, and the id inside that a name stands for; `None` if the name is of
    /// another kind or no user name. The machine's part reaches to the last hyphen; the id has no leading zeros.
    pub fn parse(kind: IdKind, name: &[u8]) -> Option<(MachineName, u32)> {
        let rest = name.strip_prefix(kind.name_prefix()).filter(|_| name.len() <= MAX)?;
        let mut parts = rest.rsplitn(2, |&byte| byte == b'-');
        let (digits, machine) = (parts.next()?, parts.next()?);
        let inside = parse_u32(digits)?;
        if digits != Decimal::new(inside).as_bytes() || !is_valid_id(inside) || has(machine, b'.') {
            return None;
        }
        Some((MachineName::new(machine).ok()?, inside))
    }

    /// The name as bytes, all of them ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.get().unwrap_or_default()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl PartialEq for IdName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for IdName {}

impl fmt::Display for IdName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IdName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdName({})", self.as_str())
    }
}

/// What stands for a machine whose own name makes no user name: the first eight lower-case hexadecimal digits of the
/// SHA-256 of its name.
///
/// `/run/machined/aliases/ALIAS` is a symlink to the name. There is none where two machines have the same alias, or one
/// has it for a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias([u8; 8]);

impl Alias {
    /// The alias of a machine.
    pub fn of(machine: &MachineName) -> Self {
        let [mut rest, ..] = sha256(machine.as_bytes());
        let mut digits = [0; 8];
        for digit in &mut digits {
            rest = rest.rotate_left(4);
            *digit = hex_digit(u8::try_from(rest & 15).unwrap_or_default());
        }
        Self(digits)
    }

    /// Reads an alias.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        <[u8; 8]>::try_from(text).ok().filter(|digits| digits.iter().all(is_digit)).map(Self)
    }

    /// The path of the alias's link.
    pub fn link(&self) -> Path {
        entry_path(ALIAS_DIRECTORY, &self.0)
    }

    /// The digits.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digits as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alias({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> MachineName {
        MachineName::new(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_leads_back_to_machine_and_id() {
        for (name, id, expected) in [
            ("foo", 0, "vu-foo-0"),
            ("foo", 65_534, "vu-foo-65534"),
            ("foo", 4_294_967_294, "vu-foo-4294967294"),
            ("a-5", 7, "vu-a-5-7"),
            ("5", 5, "vu-5-5"),
            ("x--y", 1, "vu-x--y-1"),
            ("UPPER", 1, "vu-UPPER-1"),
            ("a-name-of-twenty-six-bytes", 9, "vu-a-name-of-twenty-six-bytes-9"),
        ] {
            let written = IdName::new(IdKind::User, &machine(name), id).unwrap();
            assert_eq!(written.as_str(), expected);
            assert_eq!(IdName::parse(IdKind::User, expected.as_bytes()), Some((machine(name), id)));
            assert_eq!(IdName::parse(IdKind::Group, expected.as_bytes()), None);
        }
        let group = IdName::new(IdKind::Group, &machine("foo"), 3).unwrap();
        assert_eq!(group.as_str(), "vg-foo-3");
        assert_eq!(IdName::parse(IdKind::Group, b"vg-foo-3"), Some((machine("foo"), 3)));
    }

    #[test]
    fn what_is_no_user_name_is_not_made() {
        for (name, id) in [
            ("a.b", 0),
            ("a-name-of-twenty-six-bytes", 10),
            ("a-name-of-twenty-seven-byte", 0),
            ("a-name-of-sixty-four-bytes.abcdefghijklmnopqrstuvwxyz-0123456789", 0),
        ] {
            assert_eq!(IdName::new(IdKind::User, &machine(name), id), None, "{name}");
        }
    }

    #[test]
    fn other_names_are_not_taken_for_ours() {
        for name in [
            "",
            "vu",
            "vu-",
            "vu-foo",
            "vu--0",
            "vu-foo-",
            "vu-foo-00",
            "vu-foo-01",
            "vu-foo-+1",
            "vu-foo--1",
            "vu-foo- 1",
            "vu-foo-65535",
            "vu-foo-4294967295",
            "vu-foo-4294967296",
            "vu-foo-99999999999",
            "vu-foo-0x1",
            "vu-a.b-0",
            "vu-under_score-0",
            "vu-fo\u{e9}-0",
            "vu-a/b-0",
            "Vu-foo-0",
            " vu-foo-0",
            "vu-foo-0 ",
            "root",
            "vu-a-name-of-twenty-six-bytes-10",
            "vu-.host-0",
        ] {
            assert_eq!(IdName::parse(IdKind::User, name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn an_alias_is_the_start_of_the_hash_for_ever() {
        // As sha256sum(1) says.
        for (name, alias) in
            [("abc", "ba7816bf"), ("web.example.com", "a273ea6b"), ("x".repeat(64).as_str(), "7ce10097")]
        {
            assert_eq!(Alias::of(&machine(name)).as_str(), alias, "{name}");
        }
        let alias = Alias::of(&machine("abc"));
        assert_eq!(Alias::parse(b"ba7816bf"), Some(alias));
        assert_eq!(alias.link().as_c_str(), c"/run/machined/aliases/ba7816bf");
        assert_eq!(
            IdName::of_alias(IdKind::Group, &alias, 4_294_967_294).unwrap().as_str(),
            "vg-ba7816bf-4294967294"
        );
        for text in ["", "ba7816b", "ba7816bf0", "BA7816BF", "ba7816bg", "ba7816b-"] {
            assert_eq!(Alias::parse(text.as_bytes()), None, "{text}");
        }
    }
}
