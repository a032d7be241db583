//! What may be said of a shell: whose it is, and what it finds in its environment.

/// Whether this can be the name of a user, by the laxest rules that there are; `numeric`: or a uid.
pub fn is_user_name(name: &str, numeric: bool) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(name) {
        return numeric && name.parse::<u32>().is_ok_and(|uid| uid != u32::MAX && uid != 0xffff);
    }
    !name.is_empty()
        && name.len() <= 256
        && !name.chars().any(|c| c.is_control() || matches!(c, ':' | '/'))
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && !name.strip_prefix('-').is_some_and(is_number)
        && name != "."
        && name != ".."
}

/// Whether this is `NAME=value`, as environ(7) has it.
pub fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(is_name)
        && text.len() < 128 << 10
        && !value.chars().any(|c| c.is_control() && c != '\t' && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_lax_and_numbers_are_names_where_that_is_wanted() {
        for name in ["root", "a b", "lennart@example.org", "ä", "-x", "1a", "a.b", "x; reboot", "$(id)"] {
            assert!(is_user_name(name, false), "{name}");
        }
        for name in ["", "a:b", "a/b", " a", "a ", ".", "..", "a\nb", "a\0", "-1", "\u{9b}"] {
            assert!(!is_user_name(name, true), "{name:?}");
        }
        assert!(is_user_name("1000", true) && !is_user_name("1000", false));
        assert!(!is_user_name("4294967295", true) && !is_user_name("65535", true));
    }

    #[test]
    fn an_assignment_has_a_name() {
        for text in ["A=", "_a1=b=c", "TERM=xterm\t\n"] {
            assert!(is_assignment(text), "{text:?}");
        }
        for text in ["", "A", "=a", "1A=a", "A B=c", "A-B=c", "A=\u{1b}", "Ä=a"] {
            assert!(!is_assignment(text), "{text:?}");
        }
    }
}
