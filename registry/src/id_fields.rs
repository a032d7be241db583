//! What a user or group of a machine has besides its name and id.

use crate::decimal::Decimal;
use crate::text::Text;
use crate::{IdKind, MappedId};

/// The group of all users of machines, which is nobody's.
pub const NOBODY: u32 = 65534;
/// Their home.
pub const HOME: &str = "/";
/// Their shell: nobody logs in as one of them.
pub const NO_LOGIN: &str = "/usr/sbin/nologin";

impl MappedId {
    /// Who it is, in words: `UID 0 of Container web`.
    pub fn description(&self, kind: IdKind) -> Text<96> {
        let mut text = Text::EMPTY;
        text.push_all(match kind {
            IdKind::User => b"UID ",
            IdKind::Group => b"GID ",
        });
        text.push_all(Decimal::new(self.inside).as_bytes());
        text.push_all(b" of Container ");
        text.push_all(self.machine.as_bytes());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdName, MachineName};

    #[test]
    fn the_longest_description_fits() {
        let machine = MachineName::new(&[b'x'; 64]).unwrap();
        let name = IdName::new(IdKind::Group, &MachineName::new(b"x").unwrap(), 0).unwrap();
        let found = MappedId { machine, inside: 4_294_967_294, outside: 100_000, name };
        let text = found.description(IdKind::Group);
        let expected = std::format!("GID 4294967294 of Container {machine}");
        assert_eq!(text.get(), Some(expected.as_bytes()));
    }
}
