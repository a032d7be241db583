//! Names of systemd's units, systemd.unit(5), as they name control groups.

const TYPES: [&[u8]; 11] = [
    b"service",
    b"scope",
    b"socket",
    b"mount",
    b"swap",
    b"target",
    b"device",
    b"automount",
    b"timer",
    b"path",
    b"slice",
];

/// The longest name of a unit, in bytes.
pub const UNIT_NAME_MAX: usize = 255;

/// The name that a component of a control group's path stands for: one that would clash with a file of the kernel's
/// begins with an underscore more.
pub fn unescape(component: &[u8]) -> &[u8] {
    component.strip_prefix(b"_").unwrap_or(component)
}

/// Whether a component of a path names a slice.
pub fn is_slice(component: &[u8]) -> bool {
    component.len() >= 7 && component.ends_with(b".slice") && kind(unescape(component)) == Some(Kind::Plain)
}

/// Whether a name is that of a unit in which processes can run: neither a slice nor a template.
pub fn is_unit(name: &[u8]) -> bool {
    !name.ends_with(b".slice") && kind(name).is_some()
}

#[derive(PartialEq, Eq)]
enum Kind {
    Plain,
    Instance,
}

/// A name, perhaps an `@` and an instance, a dot, and a type; a template (nothing behind the `@`) is none.
fn kind(name: &[u8]) -> Option<Kind> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(byte);
    if name.len() > UNIT_NAME_MAX || !name.iter().all(allowed) {
        return None;
    }
    let mut parts = name.rsplitn(2, |&byte| byte == b'.');
    let (kind, rest) = (parts.next()?, parts.next()?);
    if rest.is_empty() || !TYPES.contains(&kind) {
        return None;
    }
    let mut halves = rest.splitn(2, |&byte| byte == b'@');
    match (halves.next()?, halves.next()) {
        (b"", _) | (_, Some(b"")) => None,
        (_, Some(_)) => Some(Kind::Instance),
        (_, None) => Some(Kind::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_from_other_names() {
        for name in ["a.service", "a@b.service", "a@b@.service", "a@b@c.scope", "a\\x2db.scope", "a.b.mount"]
        {
            assert!(is_unit(name.as_bytes()), "{name}");
        }
        let long = std::format!("{}.service", "x".repeat(248));
        assert!(!is_unit(long.as_bytes()) && is_unit(&long.as_bytes()[1..]));
        for name in [
            "",
            "a",
            ".service",
            "a.",
            "a@.service",
            "@.service",
            "@a.service",
            "a b.service",
            "a.slice",
            "a.conf",
        ] {
            assert!(!is_unit(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn slices_are_plain() {
        for name in ["a.slice", "a-b.slice", "_a.slice", "-.slice"] {
            assert!(is_slice(name.as_bytes()), "{name}");
        }
        for name in [".slice", "_.slice", "a@b.slice", "a.slicex", "a b.slice"] {
            assert!(!is_slice(name.as_bytes()), "{name}");
        }
    }
}
