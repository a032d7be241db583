//! Whose a machine's name is.

/// The uid of the only user for whom a machine's name resolves; `None`: it does for everybody. What a user registered without
/// being an administrator is that user's alone: else any user could say what `github.com` is.
pub const fn private_to(uid: Option<u32>, is_public: bool) -> Option<u32> {
    match uid {
        None | Some(0) => None,
        Some(_) if is_public => None,
        Some(uid) => Some(uid),
    }
}
