//! Two values of a record as sd-login reads them: sd_machine_get_class(3) and sd_machine_get_ifindices(3).
//!
//! Neither looks at the rest of the record: one whose leader is gone, or whose other lines are damaged, still answers.

use core::str;

use registry::{EnvLexer, EnvSink, HOST_NAME, MACHINE_DIRECTORY, MachineName, RECORD_MAX};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::system::{open, read_all, status};
use crate::zero_ended::ZeroEnded;

/// The value of `CLASS=`, whatever it is; that of the host is `host`.
///
/// # Errors
/// `EINVAL`: no valid name. `ENXIO`: no such machine. `EIO`: the record has no class.
pub fn class(name: &[u8]) -> Result<Buffer<u8>, Errno> {
    if name == HOST_NAME.as_bytes() {
        let mut class = Buffer::new();
        class.extend(b"host")?;
        return Ok(class);
    }
    value(name, b"CLASS")?.ok_or(Errno::IO)
}

/// The interfaces of `NETIF=`, in its order; none without one.
///
/// # Errors
/// `EINVAL`: no valid name. `ENXIO`: no such machine. `EUCLEAN`: an interface is no positive number. `ERANGE`: one is too
/// large a number.
pub fn interfaces(name: &[u8]) -> Result<Buffer<i32>, Errno> {
    let mut interfaces = Buffer::new();
    if let Some(value) = value(name, b"NETIF")? {
        // A value of blanks is a list, if one without entries.
        interfaces.reserve(1)?;
        for word in value.split(|byte| b" \t\n\r".contains(byte)).filter(|word| !word.is_empty()) {
            interfaces.push(interface(word)?)?;
        }
    }
    Ok(interfaces)
}

/// A number as strtol(3) takes it with base 0, and with `0b` and `0o`; of an interface it is positive.
fn interface(word: &[u8]) -> Result<i32, Errno> {
    let (is_negative, word) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    let (base, digits) = match word {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', b'b' | b'B', digits @ ..] => (2, digits),
        [b'0', b'o' | b'O', digits @ ..] => (8, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        digits => (10, digits),
    };
    if digits.is_empty() {
        return Err(Errno::UCLEAN);
    }
    let mut number = 0_i64;
    for &byte in digits {
        let digit = char::from(byte).to_digit(base).ok_or(Errno::UCLEAN)?;
        let larger = number.checked_mul(base.into()).and_then(|number| number.checked_add(digit.into()));
        number = larger.ok_or(Errno::RANGE)?;
    }
    let signed = if is_negative { number.wrapping_neg() } else { number };
    let index = i32::try_from(signed).map_err(|_| Errno::RANGE)?;
    if index > 0 { Ok(index) } else { Err(Errno::UCLEAN) }
}

/// The value of a key in the record of a machine; `None` where it is missing or empty. Of several the last counts.
fn value(name: &[u8], key: &'static [u8]) -> Result<Option<Buffer<u8>>, Errno> {
    let name = MachineName::new(name).map_err(|_| Errno::INVAL)?;
    let path = ZeroEnded::<96>::new(&[MACHINE_DIRECTORY.as_bytes(), b"/", name.as_bytes()]);
    let absent = |errno| if errno == Errno::NOENT { Errno::NXIO } else { errno };
    let file = open(None, path.as_c_str(), 0).map_err(absent)?;
    // No FIFO, whose other end might write for ever.
    let status = status(file.borrow())?;
    if !status.is_regular() {
        return Err(if status.is_directory() { Errno::ISDIR } else { Errno::BADFD });
    }
    value_in(&read_all(&file, RECORD_MAX)?, key)
}

/// The value of a key in the text of a record.
fn value_in(text: &[u8], key: &'static [u8]) -> Result<Option<Buffer<u8>>, Errno> {
    if text.contains(&0) {
        return Err(Errno::BADMSG);
    }
    let mut search = Search { wanted: key, key: Buffer::new(), value: Buffer::new(), found: Ok(None) };
    let mut lexer = EnvLexer::new();
    for &byte in text {
        lexer.feed(byte, &mut search);
    }
    lexer.finish(&mut search);
    Ok(search.found?.filter(|value| !value.is_empty()))
}

struct Search {
    wanted: &'static [u8],
    key: Buffer<u8>,
    value: Buffer<u8>,
    found: Result<Option<Buffer<u8>>, Errno>,
}

impl Search {
    fn note(&mut self, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.found = Err(errno);
        }
    }
}

impl EnvSink for Search {
    fn key(&mut self) {
        self.key.truncate(0);
    }
    fn key_byte(&mut self, byte: u8) {
        let pushed = self.key.push(byte);
        self.note(pushed);
    }
    fn value(&mut self) {
        self.value.truncate(0);
    }
    fn value_byte(&mut self, byte: u8) {
        let pushed = self.value.push(byte);
        self.note(pushed);
    }
    fn value_end(&mut self, trailing: usize) {
        let length = self.value.len().saturating_sub(trailing);
        self.value.truncate(length);
        if str::from_utf8(&self.key).is_err() || str::from_utf8(&self.value).is_err() {
            self.found = Err(Errno::INVAL);
        }
        if self.found.is_ok() && self.key.trim_ascii_end() == self.wanted {
            self.found = Ok(Some(core::mem::take(&mut self.value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts() {
        let value = |text: &[u8]| value_in(text, b"CLASS").map(|value| value.map(|value| value.to_vec()));
        assert_eq!(value(b"CLASS=vm\nX=1\nCLASS='a b'\n"), Ok(Some(b"a b".to_vec())));
        assert_eq!(value(b"X=1\nCLASS=vm"), Ok(Some(b"vm".to_vec())));
        assert_eq!(value(b"CLASS=vm\nCLASS=\n"), Ok(None));
        assert_eq!(value(b"XCLASS=vm\nCLAS=x\n"), Ok(None));
        assert_eq!(value(b"CLASS=vm\nX=\xff\n"), Err(Errno::INVAL));
        assert_eq!(value(b"CLASS=vm\n\0"), Err(Errno::BADMSG));
    }

    #[test]
    fn interfaces_are_positive_numbers() {
        for (word, number) in [
            ("1", 1),
            ("2147483647", i32::MAX),
            ("0x10", 16),
            ("010", 8),
            ("0b11", 3),
            ("0o17", 15),
            ("+5", 5),
        ] {
            assert_eq!(interface(word.as_bytes()), Ok(number), "{word}");
        }
        for word in ["", "0", "-1", "eth0", "1x", "0x", "08", "++1", "+", "99999999999x"] {
            assert_eq!(interface(word.as_bytes()), Err(Errno::UCLEAN), "{word}");
        }
        for word in ["2147483648", "-2147483649", "99999999999999999999x"] {
            assert_eq!(interface(word.as_bytes()), Err(Errno::RANGE), "{word}");
        }
    }

    #[test]
    fn the_host_has_a_class_and_no_record() {
        assert_eq!(class(b".host").as_deref(), Ok(&b"host"[..]));
        assert_eq!(interfaces(b".host").err(), Some(Errno::INVAL));
        assert_eq!(class(b"").err(), Some(Errno::INVAL));
    }
}
