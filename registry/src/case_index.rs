//! The case index: which machine is meant by a name that is no machine's as it stands?
//!
//! Names of hosts are the same in capitals and small letters, in /etc/hosts and in the DNS, and browsers ask for small ones.
//! `/run/machined/names/LOWER` is a symlink to the name of the machine that LOWER is the name of in small letters, if there
//! is one such machine alone. Those whose names are a user's alone are not in it, so that nobody takes a name from others
//! by its other spellings. The index is a hint: the record of the machine it names decides.

use crate::files::{Files, linked_machine};
use crate::path::{NAME_DIRECTORY, Path, entry_path};
use crate::{MachineName, NameRule};

/// The path of the link that a name in lower case has.
pub fn name_link(name: &MachineName) -> Path {
    // The name of the directory has no capitals.
    let mut path = entry_path(NAME_DIRECTORY, name.as_bytes());
    path.make_lower_case();
    path
}

/// The name that somebody looks for, who may have ended it with a dot, as in the DNS.
///
/// # Errors
/// The rule that it breaks.
pub fn asked_name(name: &[u8]) -> Result<MachineName, NameRule> {
    MachineName::new(name.strip_suffix(b".").unwrap_or(name))
}

/// The machine whose name this is but for the case of its letters, where none has exactly this one. `None` if none has, or
/// more than one.
///
/// # Errors
/// The errno, where it is not known.
pub fn machine_in_any_case<F: Files>(files: &F, name: &MachineName) -> Result<Option<MachineName>, i32> {
    linked_machine(files, &name_link(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_named_by_the_name_in_lower_case() {
        let name = MachineName::new(b"BigTEST-1.x").unwrap();
        assert_eq!(name_link(&name).as_c_str(), c"/run/machined/names/bigtest-1.x");
        let longest = MachineName::new(&[b'X'; 64]).unwrap();
        assert_eq!(name_link(&longest).as_c_str().count_bytes(), 84);
    }

    #[test]
    fn one_dot_at_the_end_is_as_none() {
        let longest = [b"x".repeat(64), b".".to_vec()].concat();
        assert_eq!(asked_name(b"Web.").unwrap().as_str(), "Web");
        assert_eq!(asked_name(b"a.b").unwrap().as_str(), "a.b");
        assert_eq!(asked_name(&longest).unwrap().as_bytes(), &[b'x'; 64]);
        assert_eq!(asked_name(b"web.."), Err(NameRule::EmptyLabel));
        assert_eq!(asked_name(b"."), Err(NameRule::Empty));
        assert_eq!(asked_name(b""), Err(NameRule::Empty));
    }
}
