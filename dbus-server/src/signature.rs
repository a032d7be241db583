//! Signatures as text.

use zbus::Signature;

use crate::table::Argument;

/// The signature of a message's body, as it stands in its header.
///
/// zbus does not tell a body that is one structure from a body of its fields, which have the same bytes; only a
/// structure of a single field is written as one.
pub(crate) fn text(signature: &Signature) -> String {
    match signature {
        Signature::Structure(fields) if fields.iter().count() == 1 => signature.to_string(),
        _ => signature.to_string_no_parens(),
    }
}

/// The signature that arguments make.
pub(crate) fn joined(arguments: &[Argument]) -> String {
    arguments.iter().map(|argument| argument.signature).collect()
}

/// Whether a body of this signature begins with these complete types, all of them of one letter.
pub(crate) fn begins_with(signature: &Signature, types: &str) -> bool {
    text(signature).starts_with(types)
}
