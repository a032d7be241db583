//! The environment-file format that records are written in, byte by byte.
//!
//! `KEY=value` lines with shell-like quoting, as os-release(5) and systemd's own state files have it. Stock
//! software parses records by exactly these rules, so they are kept to the letter: a backslash outside quotes
//! takes itself away and keeps the next byte, inside double quotes it does so only before `"`, `\`, `` ` `` and
//! `$`, quoted pieces may follow each other, blanks around a value are dropped, a line without `=` is ignored.

/// What a [`Lexer`] finds, told as it is found.
pub trait Sink {
    /// A key begins.
    fn key(&mut self);
    /// The next byte of the key; blanks before the `=` are among them.
    fn key_byte(&mut self, byte: u8);
    /// The key is complete, its value begins.
    fn value(&mut self);
    /// The next byte of the value.
    fn value_byte(&mut self, byte: u8);
    /// The value is complete; its last `trailing` bytes are unquoted blanks that do not belong to it.
    fn value_end(&mut self, trailing: usize);
}

#[derive(Clone, Copy)]
enum State {
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuotes,
    DoubleQuotes,
    DoubleQuotesEscape,
    Comment,
    CommentEscape,
}

/// The format's state machine.
pub struct Lexer {
    state: State,
    trailing: usize,
}

const fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A key without the blanks behind it; other space is part of the key.
pub fn trim_key(key: &[u8]) -> &[u8] {
    let end = key.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last.saturating_add(1));
    key.get(..end).unwrap_or_default()
}

impl Default for Lexer {
    fn default() -> Self {
        Self::new()
    }
}

impl Lexer {
    /// At the start of a file.
    pub const fn new() -> Self {
        Self { state: State::BeforeKey, trailing: 0 }
    }

    /// Takes the next byte of the file.
    pub fn feed(&mut self, byte: u8, sink: &mut impl Sink) {
        self.state = match self.state {
            State::BeforeKey => match byte {
                b'#' | b';' => State::Comment,
                byte if is_blank(byte) => State::BeforeKey,
                byte => {
                    sink.key();
                    sink.key_byte(byte);
                    State::Key
                }
            },
            State::Key => match byte {
                byte if is_newline(byte) => State::BeforeKey,
                b'=' => {
                    sink.value();
                    self.trailing = 0;
                    State::BeforeValue
                }
                byte => {
                    sink.key_byte(byte);
                    State::Key
                }
            },
            State::BeforeValue => match byte {
                byte if is_newline(byte) => self.end(sink),
                b'\'' => State::SingleQuotes,
                b'"' => State::DoubleQuotes,
                b'\\' => State::ValueEscape,
                byte if is_blank(byte) => State::BeforeValue,
                byte => self.plain(byte, sink),
            },
            State::Value => match byte {
                byte if is_newline(byte) => self.end(sink),
                b'\\' => {
                    self.trailing = 0;
                    State::ValueEscape
                }
                byte => self.plain(byte, sink),
            },
            State::ValueEscape => {
                if !is_newline(byte) {
                    self.trailing = 0;
                    sink.value_byte(byte);
                }
                State::Value
            }
            State::SingleQuotes => match byte {
                b'\'' => State::BeforeValue,
                byte => self.quoted(byte, State::SingleQuotes, sink),
            },
            State::DoubleQuotes => match byte {
                b'"' => State::BeforeValue,
                b'\\' => State::DoubleQuotesEscape,
                byte => self.quoted(byte, State::DoubleQuotes, sink),
            },
            State::DoubleQuotesEscape => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => sink.value_byte(byte),
                    b'\n' => {}
                    byte => {
                        sink.value_byte(b'\\');
                        sink.value_byte(byte);
                    }
                }
                self.trailing = 0;
                State::DoubleQuotes
            }
            State::Comment => match byte {
                b'\\' => State::CommentEscape,
                byte if is_newline(byte) => State::BeforeKey,
                _ => State::Comment,
            },
            State::CommentEscape => State::Comment,
        };
    }

    /// How many bytes at the start of a piece do no more than to make the value longer, or the comment. Who has no use
    /// for the value need not feed them, and is told of no trailing blanks then.
    pub(crate) fn dull(&self, piece: &[u8]) -> usize {
        // The bytes that do more: three at the most, so that a shorter list repeats one.
        let (a, b, c) = match self.state {
            State::Value | State::Comment => (b'\n', b'\r', b'\\'),
            State::SingleQuotes => (b'\'', b'\'', b'\''),
            State::DoubleQuotes => (b'"', b'\\', b'\\'),
            _ => return 0,
        };
        piece.iter().position(|&byte| byte == a || byte == b || byte == c).unwrap_or(piece.len())
    }

    /// The file ends here; a value that was begun counts.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        match self.state {
            State::BeforeKey | State::Key | State::Comment | State::CommentEscape => {}
            _ => {
                self.end(sink);
            }
        }
        self.state = State::BeforeKey;
    }

    fn plain(&mut self, byte: u8, sink: &mut impl Sink) -> State {
        self.trailing = if is_blank(byte) { self.trailing.wrapping_add(1) } else { 0 };
        sink.value_byte(byte);
        State::Value
    }

    fn quoted(&mut self, byte: u8, state: State, sink: &mut impl Sink) -> State {
        self.trailing = 0;
        sink.value_byte(byte);
        state
    }

    fn end(&mut self, sink: &mut impl Sink) -> State {
        sink.value_end(self.trailing);
        self.trailing = 0;
        State::BeforeKey
    }
}

#[cfg(feature = "std")]
mod pairs {
    use super::{Lexer, Sink, trim_key};
    use std::string::String;
    use std::vec::Vec;

    #[derive(Default)]
    struct Collector {
        key: Vec<u8>,
        value: Vec<u8>,
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
    }

    impl Sink for Collector {
        fn key(&mut self) {
            self.key.clear();
        }
        fn key_byte(&mut self, byte: u8) {
            self.key.push(byte);
        }
        fn value(&mut self) {
            self.value.clear();
        }
        fn value_byte(&mut self, byte: u8) {
            self.value.push(byte);
        }
        fn value_end(&mut self, trailing: usize) {
            self.value.truncate(self.value.len().saturating_sub(trailing));
            let key = core::mem::take(&mut self.key);
            self.pairs.push((trim_key(&key).into(), core::mem::take(&mut self.value)));
        }
    }

    /// All pairs of a file in the format of os-release(5), in its order.
    pub fn pairs(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut lexer, mut collector) = (Lexer::new(), Collector::default());
        text.iter().for_each(|&byte| lexer.feed(byte, &mut collector));
        lexer.finish(&mut collector);
        collector.pairs
    }

    /// Appends a line, its value in double quotes where it needs them.
    pub(crate) fn push_line(text: &mut String, key: &str, value: &str) {
        text.push_str(key);
        text.push('=');
        push_value(text, value);
        text.push('\n');
    }

    /// Appends a value, in double quotes where it needs them.
    pub(crate) fn push_value(text: &mut String, value: &str) {
        let quote = value.chars().any(|c| c.is_ascii_control() || " \"\\`$*?['()<>|&;".contains(c));
        if quote {
            text.push('"');
        }
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        if quote {
            text.push('"');
        }
    }
}
#[cfg(feature = "std")]
pub use pairs::pairs;
#[cfg(feature = "std")]
pub(crate) use pairs::{push_line, push_value};

#[cfg(test)]
#[cfg(feature = "std")]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn read(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        pairs(text.as_bytes()).into_iter().map(|(key, value)| (text_of(key), text_of(value))).collect()
    }

    fn value(text: &str) -> String {
        let mut all = read(text);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).1
    }

    #[test]
    fn values_are_read_as_a_shell_would() {
        for (text, expected) in [
            ("A=b\n", "b"),
            ("A=b", "b"),
            ("A=\n", ""),
            ("A=  b c \t\n", "b c"),
            ("A=\" 2 3\"\n", " 2 3"),
            ("A='a\\b'\n", "a\\b"),
            ("A=\"a\\\"b\\\\c\\$d\\`e\"\n", "a\"b\\c$d`e"),
            ("A=\"a\\nb\"\n", "a\\nb"),
            ("A=a\\\\x2db\n", "a\\x2db"),
            ("A=a\\ \n", "a "),
            ("A=a\\\nb\n", "ab"),
            ("A=\"a\nb\"\n", "a\nb"),
            ("A=\"a\\\nb\"\n", "ab"),
            ("A='a'\"b\"c\n", "abc"),
            ("A=\"a \" \n", "a "),
            ("A=\"open\n", "open\n"),
            ("# no\n; no\nA=b\n", "b"),
            ("# a \\\n still a comment\nA=b\n", "b"),
            ("no equals sign\nA=b\n", "b"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn keys_lose_the_blanks_around_them() {
        assert_eq!(read("  A \t=b\n\n =c\n=\n"), [("A".into(), "b".into())]);
    }

    #[test]
    fn a_form_feed_is_a_key_that_is_written_as_it_was_read() {
        let pairs = [("\u{c}".into(), "b".into()), ("A\u{b}".into(), "c".into())];
        assert_eq!(read("\u{c}=b\nA\u{b} =c\n"), pairs);
        let mut text = String::new();
        pairs.iter().for_each(|(key, value): &(String, String)| push_line(&mut text, key, value));
        assert_eq!(read(&text), pairs);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for written in [
            "",
            "plain",
            "a b",
            "\"",
            "\\",
            "a\\x2db",
            "$HOME `x`",
            "it's",
            "new\nline",
            "tab\t",
            "\u{e9} \u{1f980}",
        ] {
            let mut text = String::new();
            push_line(&mut text, "KEY", written);
            assert_eq!(value(&text), written, "{text:?}");
        }
    }
}
