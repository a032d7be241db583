//! Numbers as decimal text, without allocation.

/// Reads an unsigned decimal number without sign, blanks or overflow.
// Once, and not in each place: the module of the name service switch has to be small.
#[inline(never)]
pub fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads a number of 32 bits, as [`parse_decimal`] does.
// Once, as that.
#[inline(never)]
pub(crate) fn parse_u32(text: &[u8]) -> Option<u32> {
    parse_decimal(text).and_then(|number| u32::try_from(number).ok())
}

/// The digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 10],
    first: usize,
}

impl Decimal {
    /// The digits of this number, none of them a leading zero.
    #[inline(never)]
    pub fn new(number: u32) -> Self {
        let (mut digits, mut first, mut rest) = ([b'0'; 10], 9, number);
        for (position, digit) in digits.iter_mut().enumerate().rev() {
            first = position;
            *digit = b'0' | u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        Self { digits, first }
    }

    /// The digits as text.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.first..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 99, 100, 65_535, 999_999_999, 1_000_000_000, u32::MAX - 1, u32::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
            assert_eq!(parse_decimal(Decimal::new(number).as_bytes()), Some(number.into()));
        }
    }

    #[test]
    fn other_text_is_no_number() {
        for text in ["", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
    }
}
