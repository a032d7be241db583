//! What a call asks for: its parameters, beyond what the interface description can check.

use registry::{IdKind, is_valid_id};
use serde_json::{Map, Value};
use varlink_server::{ErrorReply, Rule};

use crate::filter::Filter;
use crate::record::{DISPOSITION, SERVICE};
use crate::user_name::may_be_user_name;

/// Somebody else was asked: clients name the service that they mean, as one socket may serve several.
pub const BAD_SERVICE: ErrorReply = ErrorReply::named("io.systemd.UserDatabase.BadService");

/// The kinds of users that userdb knows, <https://systemd.io/USER_RECORD>.
const DISPOSITIONS: [&str; 7] =
    ["intrinsic", "system", "dynamic", "regular", DISPOSITION, "foreign", "reserved"];

/// How many texts a search may have: each is compared with all who come into question.
const FUZZY_NAMES_MAX: usize = 64;

/// Whom a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// A user or a group.
    pub kind: IdKind,
    /// By id on the host.
    pub id: Option<u32>,
    /// By name.
    pub name: Option<String>,
    /// By conditions that name nobody.
    pub filter: Filter,
}

/// The names of the parameters of one kind.
struct Keys {
    id: &'static str,
    name: &'static str,
    least: &'static str,
    most: &'static str,
}

const fn keys(kind: IdKind) -> Keys {
    match kind {
        IdKind::User => Keys { id: "uid", name: "userName", least: "uidMin", most: "uidMax" },
        IdKind::Group => Keys { id: "gid", name: "groupName", least: "gidMin", most: "gidMax" },
    }
}

/// What is asked of the parameters of GetUserRecord beyond the description.
pub const USER_RULES: &[(&str, Rule)] = &[
    ("uid", Rule::NotNull),
    ("uid", Rule::Number),
    ("userName", Rule::NotNull),
    ("uidMin", Rule::Number),
    ("uidMax", Rule::Number),
];

/// What is asked of the parameters of GetGroupRecord beyond the description.
pub const GROUP_RULES: &[(&str, Rule)] = &[
    ("gid", Rule::NotNull),
    ("gid", Rule::Number),
    ("groupName", Rule::NotNull),
    ("gidMin", Rule::Number),
    ("gidMax", Rule::Number),
];

/// What is asked of the parameters of GetMemberships beyond the description.
pub const MEMBERSHIP_RULES: &[(&str, Rule)] = &[("userName", Rule::NotNull), ("groupName", Rule::NotNull)];

impl Query {
    /// Reads the parameters of a call.
    ///
    /// # Errors
    /// `InvalidParameter` for what can be no id, name, UUID or disposition, and for too many texts; then [`BAD_SERVICE`].
    pub fn new(kind: IdKind, parameters: &Map<String, Value>) -> Result<Self, ErrorReply> {
        let keys = keys(kind);
        let query = Self {
            kind,
            id: id(parameters, keys.id)?,
            name: name(parameters, keys.name)?,
            filter: Filter {
                ids: id(parameters, keys.least)?.unwrap_or(0)
                    ..=id(parameters, keys.most)?.unwrap_or(u32::MAX),
                fuzzy_names: fuzzy_names(parameters)?,
                containers: has_containers(parameters)?,
                by_uuid: is_uuid_asked_for(parameters)?,
            },
        };
        check_service(parameters)?;
        Ok(query)
    }
}

/// Checks the parameters of GetMemberships, which machines have none of.
///
/// # Errors
/// As for [`Query::new`].
pub fn check_memberships(parameters: &Map<String, Value>) -> Result<(), ErrorReply> {
    name(parameters, "userName")?;
    name(parameters, "groupName")?;
    check_service(parameters)
}

fn check_service(parameters: &Map<String, Value>) -> Result<(), ErrorReply> {
    let asked = parameters.get("service").and_then(Value::as_str);
    if asked == Some(SERVICE) { Ok(()) } else { Err(BAD_SERVICE) }
}

fn id(parameters: &Map<String, Value>, key: &str) -> Result<Option<u32>, ErrorReply> {
    let Some(value) = parameters.get(key) else { return Ok(None) };
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| is_valid_id(id));
    id.map(Some).ok_or_else(|| ErrorReply::invalid_parameter(key))
}

fn name(parameters: &Map<String, Value>, key: &str) -> Result<Option<String>, ErrorReply> {
    match parameters.get(key).and_then(Value::as_str) {
        Some(name) if !may_be_user_name(name) => Err(ErrorReply::invalid_parameter(key)),
        name => Ok(name.map(String::from)),
    }
}

fn words<'a>(parameters: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    parameters.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn fuzzy_names(parameters: &Map<String, Value>) -> Result<Vec<String>, ErrorReply> {
    const KEY: &str = "fuzzyNames";
    if words(parameters, KEY).count() > FUZZY_NAMES_MAX {
        return Err(ErrorReply::invalid_parameter(KEY));
    }
    Ok(words(parameters, KEY).map(String::from).collect())
}

fn has_containers(parameters: &Map<String, Value>) -> Result<bool, ErrorReply> {
    const KEY: &str = "dispositionMask";
    if words(parameters, KEY).any(|word| !DISPOSITIONS.contains(&word)) {
        return Err(ErrorReply::invalid_parameter(KEY));
    }
    Ok(!parameters.contains_key(KEY) || words(parameters, KEY).any(|word| word == DISPOSITION))
}

/// Whether one is; one of zeros stands for none.
fn is_uuid_asked_for(parameters: &Map<String, Value>) -> Result<bool, ErrorReply> {
    const KEY: &str = "uuid";
    let Some(text) = parameters.get(KEY).and_then(Value::as_str) else { return Ok(false) };
    let is_plain = text.len() == 32;
    let is_dashed = text.len() == 36;
    let fits = |(place, byte): (usize, u8)| {
        if is_dashed && matches!(place, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    if !(is_plain || is_dashed) || !text.bytes().enumerate().all(fits) {
        return Err(ErrorReply::invalid_parameter(KEY));
    }
    Ok(text.bytes().any(|byte| !matches!(byte, b'0' | b'-')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(kind: IdKind, mut parameters: Value) -> Result<Query, String> {
        let parameters = parameters.as_object_mut().unwrap();
        parameters.entry("service").or_insert(json!(SERVICE));
        Query::new(kind, parameters).map_err(|error| {
            let field = error.parameters.first().map_or(&Value::Null, |(_, value)| value);
            field.as_str().unwrap_or(error.id).to_owned()
        })
    }

    #[test]
    fn parameters_say_who_is_asked_for() {
        let all = Query { kind: IdKind::User, id: None, name: None, filter: Filter::default() };
        assert_eq!(query(IdKind::User, json!({})).as_ref(), Ok(&all));
        let asked = query(
            IdKind::Group,
            json!({"gid": 5, "groupName": "vg-web-0", "gidMin": 1, "gidMax": 9, "fuzzyNames": ["a", "b"],
                "dispositionMask": ["regular"], "uuid": "0123456789abcdef0123456789ABCDEF"}),
        );
        let filter = Filter {
            ids: 1..=9,
            fuzzy_names: vec!["a".into(), "b".into()],
            containers: false,
            by_uuid: true,
        };
        assert_eq!(
            asked,
            Ok(Query { kind: IdKind::Group, id: Some(5), name: Some("vg-web-0".into()), filter })
        );
    }

    #[test]
    fn a_mask_of_dispositions_is_one_where_it_is_given() {
        let has =
            |mask: Value| query(IdKind::User, json!({"dispositionMask": mask})).unwrap().filter.containers;
        assert!(has(json!(["regular", "container"])) && has(json!(DISPOSITIONS)));
        assert!(!has(json!(["regular"])) && !has(json!([])));
    }

    #[test]
    fn a_uuid_of_zeros_is_none() {
        let by_uuid = |text: &str| query(IdKind::User, json!({ "uuid": text })).unwrap().filter.by_uuid;
        assert!(by_uuid("01234567-89ab-cdef-0123-456789abcdef"));
        assert!(!by_uuid("00000000-0000-0000-0000-000000000000") && !by_uuid(&"0".repeat(32)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (parameters, field) in [
            (json!({"uid": -1}), "uid"),
            (json!({"uid": 65535}), "uid"),
            (json!({"uid": 4_294_967_295_u32}), "uid"),
            (json!({"uid": 4_294_967_296_u64}), "uid"),
            (json!({"uidMin": 65535}), "uidMin"),
            (json!({"uidMax": 4_294_967_295_u32}), "uidMax"),
            (json!({"userName": ""}), "userName"),
            (json!({"userName": "1000"}), "userName"),
            (json!({"dispositionMask": ["container", "x"]}), "dispositionMask"),
            (json!({"fuzzyNames": vec!["x"; FUZZY_NAMES_MAX + 1]}), "fuzzyNames"),
            (json!({"uuid": ""}), "uuid"),
            (json!({"uuid": "0123456789abcdef0123456789abcde"}), "uuid"),
            (json!({"uuid": "0123456789abcdef0123456789abcdeg"}), "uuid"),
            (json!({"uuid": "0123456-789ab-cdef-0123-456789abcdef"}), "uuid"),
            (json!({"uuid": "0123456789abcdef0123456789abcdef0123"}), "uuid"),
            (json!({"service": "x"}), "io.systemd.UserDatabase.BadService"),
            (json!({"service": "x", "uid": 65535}), "uid"),
        ] {
            assert_eq!(query(IdKind::User, parameters.clone()), Err(field.into()), "{parameters}");
        }
        let nobody = json!({"userName": "vu-a-0"});
        assert_eq!(check_memberships(nobody.as_object().unwrap()), Err(BAD_SERVICE));
    }
}
