//! The kernel's errors as D-Bus has them, sd-bus-errors(3).

use std::borrow::Cow;

use rustix::io::Errno;

const NAMES: &[(Errno, &str)] = &[
    (Errno::PERM, "org.freedesktop.DBus.Error.AccessDenied"),
    (Errno::ACCESS, "org.freedesktop.DBus.Error.AccessDenied"),
    (Errno::INVAL, "org.freedesktop.DBus.Error.InvalidArgs"),
    (Errno::SRCH, "org.freedesktop.DBus.Error.UnixProcessIdUnknown"),
    (Errno::NOENT, "org.freedesktop.DBus.Error.FileNotFound"),
    (Errno::EXIST, "org.freedesktop.DBus.Error.FileExists"),
    (Errno::NOMEM, "org.freedesktop.DBus.Error.NoMemory"),
    (Errno::TIMEDOUT, "org.freedesktop.DBus.Error.Timeout"),
    (Errno::TIME, "org.freedesktop.DBus.Error.Timeout"),
    (Errno::IO, "org.freedesktop.DBus.Error.IOError"),
    (Errno::NETRESET, "org.freedesktop.DBus.Error.Disconnected"),
    (Errno::CONNABORTED, "org.freedesktop.DBus.Error.Disconnected"),
    (Errno::CONNRESET, "org.freedesktop.DBus.Error.Disconnected"),
    (Errno::OPNOTSUPP, "org.freedesktop.DBus.Error.NotSupported"),
    (Errno::ADDRNOTAVAIL, "org.freedesktop.DBus.Error.BadAddress"),
    (Errno::NOBUFS, "org.freedesktop.DBus.Error.LimitsExceeded"),
    (Errno::ADDRINUSE, "org.freedesktop.DBus.Error.AddressInUse"),
    (Errno::BADMSG, "org.freedesktop.DBus.Error.InconsistentMessage"),
];

/// The D-Bus name of an errno. One that D-Bus has no word for is `System.Error.` and its symbol, which the caller
/// knows.
pub fn error_name(errno: Errno, symbol: Option<&str>) -> Cow<'static, str> {
    let known = NAMES.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name);
    match (known, symbol) {
        (Some(name), _) => Cow::Borrowed(name),
        (None, Some(symbol)) => Cow::Owned(format!("System.Error.{symbol}")),
        (None, None) => Cow::Borrowed("org.freedesktop.DBus.Error.Failed"),
    }
}

/// What an errno means, in the C library's words, strerror(3).
pub fn description(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text.chars().take(end).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_called_as_sd_bus_calls_it() {
        assert_eq!(error_name(Errno::PERM, Some("EPERM")), "org.freedesktop.DBus.Error.AccessDenied");
        assert_eq!(error_name(Errno::SRCH, None), "org.freedesktop.DBus.Error.UnixProcessIdUnknown");
        assert_eq!(error_name(Errno::NXIO, Some("ENXIO")), "System.Error.ENXIO");
        assert_eq!(error_name(Errno::from_raw_os_error(4000), None), "org.freedesktop.DBus.Error.Failed");
    }

    #[test]
    fn an_errno_is_described_as_the_c_library_does() {
        assert_eq!(description(Errno::EXIST), "File exists");
        assert_eq!(description(Errno::OPNOTSUPP), "Operation not supported");
    }
}
