//! Names of machines on the command line.

use std::ffi::OsStr;

use clap_complete::CompletionCandidate;
use registry::MachineName;

use crate::failure::Failure;
use crate::machine::listed_names;

/// Checks a name.
///
/// # Errors
/// The rule that it breaks, with a name that breaks none.
pub fn checked(text: &str) -> Result<MachineName, String> {
    libmachine::checked_name(text).map_err(|refused| refused.to_string())
}

/// The name of a machine that is looked for: one that cannot be a name is none that is there.
///
/// # Errors
/// [`Failure::NotFound`].
pub fn looked_for(text: &str) -> Result<MachineName, Failure> {
    checked(text).map_err(Failure::NotFound)
}

/// What the shell offers where a machine is to be named: what the directories of the records list.
pub fn candidates() -> Vec<CompletionCandidate> {
    listed_names().iter().map(|name| CompletionCandidate::new(OsStr::new(name.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_told_the_rule_and_a_right_one() {
        assert_eq!(
            checked("foo_bar").unwrap_err(),
            "machine name 'foo_bar': '_' is not allowed (try 'foo-bar')"
        );
        assert_eq!(checked("").unwrap_err(), "machine name '': it is empty (try 'machine')");
        assert_eq!(checked("web").unwrap().as_str(), "web");
    }
}
