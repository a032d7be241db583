//! Where the addresses stand in the text of a record, so that some can be taken away in place, without room for a new record.

use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

use crate::env_file::{Lexer, Sink, push_value, trim_key};
use crate::{Address, Key};

/// A change of a record's text that makes it neither longer nor shorter.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the line begins. While its first byte is `#`, it is a comment, and no addresses are known.
    pub line: u64,
    /// Where the line begins that says where each address is from. As it would be about others, it is to be a comment.
    pub sources: Option<u64>,
    /// Where the value begins.
    pub at: u64,
    /// What it is from now on, with blanks behind it.
    pub value: String,
}

/// What has to be changed in the text of a record so that it lists no other addresses than `keeps` says; `None` if it lists no
/// others, or cannot be read.
pub fn keep(text: &[u8], keeps: impl Fn(&Address) -> bool) -> Option<Change> {
    let (mut lexer, mut lines) = (Lexer::new(), Lines::default());
    for (at, &byte) in text.iter().enumerate() {
        lines.at = at;
        lexer.feed(byte, &mut lines);
    }
    let Span { line, at, end, value } = lines.found?;
    let sources = lines.sources.map(u64::try_from).transpose().ok()?;
    let words = value.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    let is_kept = |word: &&str| Address::parse(word.as_bytes()).is_some_and(|address| keeps(&address));
    let kept: Vec<_> = words.iter().copied().filter(is_kept).collect();
    if kept.len() == words.len() {
        return None;
    }
    let mut value = String::new();
    push_value(&mut value, &kept.join(" "));
    let room = end.checked_sub(at)?.checked_sub(value.len())?;
    value.push_str(&" ".repeat(room));
    Some(Change { line: line.try_into().ok()?, sources, at: at.try_into().ok()?, value })
}

/// A line of addresses.
struct Span {
    line: usize,
    at: usize,
    end: usize,
    value: String,
}

#[derive(Default)]
struct Lines {
    at: usize,
    line: usize,
    key: Vec<u8>,
    start: usize,
    value: Vec<u8>,
    found: Option<Span>,
    /// Where the line of their sources begins, if it has more than one.
    sources: Option<usize>,
}

impl Sink for Lines {
    fn key(&mut self) {
        self.line = self.at;
        self.key.clear();
    }
    fn key_byte(&mut self, byte: u8) {
        self.key.push(byte);
    }
    fn value(&mut self) {
        self.start = self.at.saturating_add(1);
        self.value.clear();
    }
    fn value_byte(&mut self, byte: u8) {
        self.value.push(byte);
    }
    fn value_end(&mut self, _trailing: usize) {
        match Key::of(trim_key(&self.key)) {
            Some(Key::Addresses) => {
                let value = core::str::from_utf8(&self.value).unwrap_or_default().to_owned();
                self.found = Some(Span { line: self.line, at: self.start, end: self.at, value });
            }
            // One is that of all addresses, whichever are left.
            Some(Key::AddressesFrom) => self.sources = self.value.contains(&b' ').then_some(self.line),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addresses, MachineName, Record};
    use std::format;
    use std::string::ToString;

    /// The text with the change made, and what it lists then.
    fn kept(text: &str, keeps: &[&str]) -> Option<(String, Vec<String>)> {
        let change = keep(text.as_bytes(), |address| keeps.contains(&address.to_string().as_str()))?;
        let (line, at) = (usize::try_from(change.line).unwrap(), usize::try_from(change.at).unwrap());
        assert!(text.get(line..).unwrap().starts_with("ADDRESSES="));
        let mut changed = text.to_owned();
        changed.replace_range(at..at + change.value.len(), &change.value);
        assert_eq!(changed.len(), text.len());
        let mut hidden = changed.clone();
        hidden.replace_range(line..line + 1, "#");
        let name = MachineName::new(b"web").unwrap();
        assert_eq!(Record::parse(&name, hidden.as_bytes()).unwrap().addresses, Addresses::Unknown);
        let Addresses::Listed(list) = Record::parse(&name, changed.as_bytes()).unwrap().addresses else {
            panic!()
        };
        Some((changed, list.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn addresses_are_taken_away_in_place() {
        let record = |value: &str| {
            format!("NAME=web\nSERVICE=\"x\nADDRESSES=1.2.3.4\"\nCLASS=container\nADDRESSES={value}\nZ=1\n")
        };
        for (value, keeps, expected) in [
            (
                "\"10.0.0.1 10.0.0.22 fe80::1%5\"",
                &["10.0.0.1", "fe80::1%5"][..],
                &["10.0.0.1", "fe80::1%5"][..],
            ),
            ("\"10.0.0.1 10.0.0.22\"", &["10.0.0.22"], &["10.0.0.22"]),
            ("\"10.0.0.1 10.0.0.22\"", &[], &[]),
            ("10.0.0.1", &[], &[]),
            ("\"10.0.0.1 10.0.0.22\"", &["10.0.0.22", "10.0.0.9"], &["10.0.0.22"]),
        ] {
            let (_, list) = kept(&record(value), keeps).unwrap();
            assert_eq!(list, expected, "{value}");
        }
        assert_eq!(kept(&record("10.0.0.1"), &["10.0.0.1", "10.0.0.2"]), None);
        assert_eq!(kept(&record(""), &[]), None);
        assert_eq!(kept("CLASS=container\n", &[]), None);
    }

    #[test]
    fn sources_of_other_addresses_than_are_left_are_taken_away_too() {
        let sources = |line: &str| {
            let text = format!("NAME=web\nCLASS=vm\n{line}ADDRESSES=\"10.0.0.1 10.0.0.2\"\n");
            let change = keep(text.as_bytes(), |address| address.to_string() == "10.0.0.2").unwrap();
            let at = change.sources.map(|at| usize::try_from(at).unwrap());
            at.map(|at| text.get(at..).unwrap().lines().next().unwrap().to_owned())
        };
        let several = "ADDRESSES_FROM=\"given lease\"\n";
        assert_eq!(sources(several).as_deref(), Some(several.trim_end()));
        assert_eq!(sources("ADDRESSES_FROM=interface\n"), None);
        assert_eq!(sources(""), None);
    }
}
