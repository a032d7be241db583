//! Which texts may be asked for as the name of a user or group.

/// Whether somebody could have a user or group of this name: the rule of <https://systemd.io/USER_NAMES>, "relaxed mode".
/// No machine has users of most of these; but what is no name at all is an error of its own.
pub fn may_be_user_name(name: &str) -> bool {
    let digits = name.strip_prefix('-').unwrap_or(name);
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains([':', '/'])
        && !name.bytes().any(|byte| byte.is_ascii_control())
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && (digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_and_no_path_may_be_a_name() {
        for name in [
            "vu-web-0",
            "a",
            "a b",
            "-",
            "-a",
            "0x10",
            "\u{e9}",
            "a@b",
            "+5",
            "5a",
            "\u{85}",
            &"x".repeat(300),
        ] {
            assert!(may_be_user_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "1000", "99999999999", "-5", "a\nb", "a\u{7f}b", " a", "a "]
        {
            assert!(!may_be_user_name(name), "{name:?}");
        }
    }
}
