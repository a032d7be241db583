//! What userdb is told of a user or group, <https://systemd.io/USER_RECORD> and <https://systemd.io/GROUP_RECORD>.

use registry::{HOME, IdKind, MappedId, NO_LOGIN, NOBODY};
use serde::Serialize;

/// The name of this service, which is the name of its socket.
pub const SERVICE: &str = "io.systemd.Machine";

/// Where users of machines come from.
pub const DISPOSITION: &str = "container";

/// The reply of GetUserRecord.
#[derive(Debug, Serialize)]
pub struct UserReply {
    record: User,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user_name: String,
    uid: u32,
    gid: u32,
    real_name: String,
    home_directory: &'static str,
    shell: &'static str,
    locked: bool,
    service: &'static str,
    disposition: &'static str,
}

/// The reply of GetGroupRecord.
#[derive(Debug, Serialize)]
pub struct GroupReply {
    record: Group,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group_name: String,
    gid: u32,
    description: String,
    service: &'static str,
    disposition: &'static str,
}

/// "UID 0 of Container web".
pub fn description(kind: IdKind, found: &MappedId) -> String {
    found.description(kind).get().map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned())
}

/// What is told of a user.
pub fn user(found: &MappedId) -> UserReply {
    UserReply {
        record: User {
            user_name: found.name.to_string(),
            uid: found.outside,
            gid: NOBODY,
            real_name: description(IdKind::User, found),
            home_directory: HOME,
            shell: NO_LOGIN,
            locked: true,
            service: SERVICE,
            disposition: DISPOSITION,
        },
    }
}

/// What is told of a group.
pub fn group(found: &MappedId) -> GroupReply {
    GroupReply {
        record: Group {
            group_name: found.name.to_string(),
            gid: found.outside,
            description: description(IdKind::Group, found),
            service: SERVICE,
            disposition: DISPOSITION,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{IdName, MachineName};

    fn found(kind: IdKind) -> MappedId {
        let machine = MachineName::new(b"web-1").unwrap();
        MappedId { machine, inside: 5, outside: 100_005, name: IdName::new(kind, &machine, 5).unwrap() }
    }

    #[test]
    fn records_have_the_bytes_of_the_original() {
        assert_eq!(
            serde_json::to_string(&user(&found(IdKind::User))).unwrap(),
            concat!(
                r#"{"record":{"userName":"vu-web-1-5","uid":100005,"gid":65534,"realName":"UID 5 of Container web-1","#,
                r#""homeDirectory":"/","shell":"/usr/sbin/nologin","locked":true,"service":"io.systemd.Machine","#,
                r#""disposition":"container"}}"#
            )
        );
        assert_eq!(
            serde_json::to_string(&group(&found(IdKind::Group))).unwrap(),
            concat!(
                r#"{"record":{"groupName":"vg-web-1-5","gid":100005,"description":"GID 5 of Container web-1","#,
                r#""service":"io.systemd.Machine","disposition":"container"}}"#
            )
        );
    }
}
