//! Signals by number and by name, signal(7): real-time signals among them, which system managers use as messages.
//!
//! # Safety
//! rustix wants to be promised that a number is a signal, and not one the C library keeps for itself, before it
//! makes a `Signal` of it. The numbers are checked to be signals; they are only sent to other processes, so that
//! this process's C library is not concerned.

#![allow(unsafe_code, reason = "real-time signals")]

use rustix::process::Signal;

/// The signals of Linux on all architectures but alpha, mips, parisc and sparc, in the order of their numbers.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const REALTIME_MIN: i32 = 34;
const MAX: i32 = 64;

/// The signal with this number, 1 to 64.
pub fn signal_of_number(number: i32) -> Option<Signal> {
    if !(1..=MAX).contains(&number) {
        return None;
    }
    // SAFETY: it is a signal's number.
    Some(Signal::from_named_raw(number).unwrap_or_else(|| unsafe { Signal::from_raw_unchecked(number) }))
}

/// The signal with this name: `TERM`, `SIGTERM`, `RTMIN+4`, `RTMAX-1`, or its number.
pub fn signal_of_name(name: &str) -> Option<Signal> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let number = if let Some(position) = NAMES.iter().position(|known| *known == name) {
        i32::try_from(position).ok()?.checked_add(1)?
    } else if let Some(offset) = name.strip_prefix("RTMIN") {
        REALTIME_MIN.checked_add(offset_of(offset, '+')?)?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        MAX.checked_sub(offset_of(offset, '-')?)?
    } else {
        return name
            .parse()
            .ok()
            .filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(signal_of_number);
    };
    if name.starts_with("RT") && !(REALTIME_MIN..=MAX).contains(&number) {
        return None;
    }
    signal_of_number(number)
}

fn offset_of(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    text.strip_prefix(sign)?.parse().ok().filter(|offset| *offset >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_from_1_to_64() {
        for number in 1..=64 {
            assert_eq!(signal_of_number(number).map(Signal::as_raw), Some(number));
        }
        for number in [i32::MIN, -1, 0, 65, i32::MAX] {
            assert_eq!(signal_of_number(number), None);
        }
    }

    #[test]
    fn signals_are_found_by_name() {
        for (name, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("HUP", 1),
            ("SYS", 31),
            ("KILL", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+4", 38),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("10", 10),
            ("64", 64),
        ] {
            assert_eq!(signal_of_name(name).map(Signal::as_raw), Some(number), "{name}");
        }
        for name in [
            "",
            "SIG",
            "term",
            "TERMINATE",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "0",
            "65",
            "-9",
            "+9",
            "RTMIN+",
        ] {
            assert_eq!(signal_of_name(name), None, "{name}");
        }
    }
}
