//! The 128-bit id of an OS installation, machine-id(5).

use core::fmt;

/// The machine id that an OS inside a machine has; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct MachineId([u8; 16]);

impl MachineId {
    /// The id of these bytes; `None` if they are all zero, which stands for "no id".
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Reads 32 hexadecimal digits, or a UUID with dashes. `None`: neither. `Some(None)`: all zeros, no id.
    pub fn parse(text: &[u8]) -> Option<Option<Self>> {
        let dashed = match text.len() {
            32 => false,
            36 => true,
            _ => return None,
        };
        let mut bytes = [0_u8; 16];
        let (mut digits, mut next) = (0_usize, 0_usize);
        for &byte in text {
            let position = next;
            next = next.wrapping_add(1);
            if dashed && matches!(position, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
            let slot = bytes.get_mut(digits / 2)?;
            *slot = (*slot << 4) | digit;
            digits = digits.wrapping_add(1);
        }
        (digits == 32).then(|| Self::new(bytes))
    }

    /// The 16 bytes of the id.
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_id_is_read_with_and_without_dashes() {
        let plain = "0123456789abcdef0123456789ABCDEF";
        let id = MachineId::parse(plain.as_bytes()).unwrap().unwrap();
        assert_eq!(id.to_string(), plain.to_lowercase());
        assert_eq!(MachineId::parse(b"01234567-89ab-cdef-0123-456789abcdef"), Some(Some(id)));
    }

    #[test]
    fn zeros_are_no_id_and_other_text_is_refused() {
        assert_eq!(MachineId::parse(&[b'0'; 32]), Some(None));
        for bad in ["", "0123", "g123456789abcdef0123456789abcdef", "0123456789abcdef-0123456789abcdef---"] {
            assert_eq!(MachineId::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
