//! The messages on the wire: calls as they come in, replies as they go out.

use std::fmt;
use std::io::{self, ErrorKind};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use super::error_reply::ErrorReply;

/// A call, before anything is known about its method.
///
/// A member of the message that is none of the protocol's is an error, as it is for sd-varlink.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCall {
    /// The full name, as in `io.systemd.Machine.List`.
    #[serde(deserialize_with = "text")]
    pub method: String,
    /// Absent and null are the same.
    #[serde(default)]
    pub parameters: Option<Object>,
    /// The peer wants no reply.
    #[serde(default)]
    pub oneway: bool,
    /// The peer takes a stream of replies.
    #[serde(default)]
    pub more: bool,
    /// As for the original, to ask for an upgrade is no error, and changes nothing.
    #[serde(default, rename = "upgrade")]
    _upgrade: bool,
}

impl RawCall {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no call.
    pub fn read(message: &[u8]) -> serde_json::Result<Self> {
        // A struct can be read from an array, too.
        match message.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => serde_json::from_slice(message),
            _ => Err(serde_json::Error::custom("it is no object")),
        }
    }
}

/// A JSON object in the order of the message, since the order decides which field an error names.
#[derive(Debug, Default)]
pub struct Object(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.len() >= MEMBERS_MAX {
                        return Err(A::Error::custom("too many parameters"));
                    }
                    if name.contains('\0') || has_nul(&value) {
                        return Err(A::Error::custom("a string with NUL in it"));
                    }
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.contains('\0') { Err(D::Error::custom("a string with NUL in it")) } else { Ok(text) }
}

/// sd-json has no such strings, and no C code behind us could take one.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(items) => items.iter().any(|(key, item)| key.contains('\0') || has_nul(item)),
        _ => false,
    }
}

/// No method has nearly as many; looking each one up stays cheap.
const MEMBERS_MAX: usize = 1024;

/// How a reply ends that has parameters and is not the last one.
pub const CONTINUES: &[u8] = b",\"continues\":true}\0";

/// How large a reply may be, in bytes. sd-varlink ends a connection on which a larger message comes in.
const REPLY_MAX: usize = 16 << 20;

/// JSON as clients read it: sd-json ends the connection on a string with NUL in it.
struct WithoutNul;

impl Formatter for WithoutNul {
    fn write_char_escape<W: io::Write + ?Sized>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(0) => {
                Err(io::Error::new(ErrorKind::InvalidData, "a string with NUL in it"))
            }
            escape => CompactFormatter.write_char_escape(to, escape),
        }
    }
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut serde_json::Serializer::with_formatter(out, WithoutNul))?)
}

/// Appends a reply as sd-varlink 262 writes it, NUL byte included: parameters that serialise to null or to
/// an empty object are left out.
///
/// # Errors
/// When `parameters` cannot be JSON, or a string in it has NUL in it, or it is larger than a client takes;
/// `out` is then as it was.
pub fn write_reply(out: &mut Vec<u8>, parameters: &impl Serialize, continues: bool) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(b"{\"parameters\":");
    let body = out.len();
    let written = write_json(out, parameters).and_then(|()| {
        let is_small = out.len().saturating_sub(start) <= REPLY_MAX;
        is_small
            .then_some(())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a reply of more than 16 MiB"))
    });
    if let Err(error) = written {
        out.truncate(start);
        return Err(error);
    }
    let empty = matches!(out.get(body..), Some(b"null" | b"{}"));
    if empty {
        out.truncate(start);
    }
    out.extend_from_slice(match (empty, continues) {
        (false, false) => &b"}\0"[..],
        (false, true) => CONTINUES,
        (true, false) => b"{}\0",
        (true, true) => b"{\"continues\":true}\0",
    });
    Ok(())
}

/// Appends an error reply, NUL byte included.
pub fn write_error(out: &mut Vec<u8>, error: &ErrorReply) {
    let start = out.len();
    if write_json(out, error).is_err() {
        out.truncate(start);
        // Without its fields, of which one cannot be sent.
        out.extend_from_slice(b"{\"error\":\"");
        out.extend_from_slice(error.id.as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.push(0);
}

impl Serialize for ErrorReply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Parameters<'a>(&'a [(&'static str, Value)]);

        impl Serialize for Parameters<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("error", self.id)?;
        if !self.parameters.is_empty() {
            map.serialize_entry("parameters", &Parameters(&self.parameters))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn decode(text: &str) -> Result<RawCall, serde_json::Error> {
        RawCall::read(text.as_bytes())
    }

    #[test]
    fn a_call_is_read_with_its_flags() {
        let call = decode(r#"{"more":true,"method":"a.b.C","upgrade":true,"parameters":{"z":1,"a":null}} "#);
        let call = call.unwrap();
        assert!(call.more && !call.oneway);
        assert_eq!(call.method, "a.b.C");
        let names: Vec<_> = call.parameters.unwrap().0.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a"]);
        assert!(decode(r#"{"method":"a.b.C","parameters":null}"#).unwrap().parameters.is_none());
        assert!(decode(r#"{"method":"a.b.C"}"#).unwrap().parameters.is_none());
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            r#"["a.b.C"]"#,
            "{}",
            r#"{"method":1}"#,
            r#"{"method":"a.b.C","bogus":1}"#,
            r#"{"method":"a.b.C","method":"a.b.C"}"#,
            r#"{"method":"a.b.C","parameters":[]}"#,
            r#"{"method":"a.b.C","parameters":{},"parameters":{}}"#,
            r#"{"method":"a.b.C","more":1}"#,
            r#"{"method":"a.b.C","oneway":null}"#,
            r#"{"method":"a.b.C"}{"method":"a.b.C"}"#,
            r#"{"method":"a.b.\u0000"}"#,
            r#"{"method":"a.b.C","parameters":{"x":[{"y":"a\u0000b"}]}}"#,
            r#"{"method":"a.b.C","parameters":{"x":"\ud800"}}"#,
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn replies_have_the_bytes_of_sd_varlink() {
        let mut out = Vec::new();
        write_reply(&mut out, &serde_json::json!({"name": "a\n\u{1}/\u{7f}"}), true).unwrap();
        write_reply(&mut out, &(), false).unwrap();
        write_reply(&mut out, &serde_json::json!({}), true).unwrap();
        write_error(&mut out, &ErrorReply::expected_more());
        write_error(&mut out, &ErrorReply::system(Errno::EXIST));
        let text = String::from_utf8(out).unwrap();
        let messages: Vec<&str> = text.split_terminator('\0').collect();
        assert_eq!(
            messages,
            [
                "{\"parameters\":{\"name\":\"a\\n\\u0001/\u{7f}\"},\"continues\":true}",
                "{}",
                r#"{"continues":true}"#,
                r#"{"error":"org.varlink.service.ExpectedMore"}"#,
                r#"{"error":"io.systemd.System","parameters":{"origin":"linux","errno":17,"errnoName":"EEXIST"}}"#,
            ]
        );
    }

    #[test]
    fn a_reply_that_would_end_the_connection_leaves_no_trace() {
        let mut out = b"before".to_vec();
        for value in [serde_json::json!({"a": ["b\0c"]}), serde_json::json!({"a\0": 1})] {
            assert!(write_reply(&mut out, &value, false).is_err());
        }
        assert_eq!(out, b"before");
        write_reply(&mut out, &serde_json::json!({"a": "\\u0000\n\u{1}"}), false).unwrap();
        assert_eq!(out, b"before{\"parameters\":{\"a\":\"\\\\u0000\\n\\u0001\"}}\0");
    }

    #[test]
    #[cfg_attr(miri, ignore = "an interpreter takes an hour for 16 MB")]
    fn a_reply_that_is_too_large_leaves_no_trace() {
        let mut out = b"before".to_vec();
        assert!(write_reply(&mut out, &serde_json::json!({"a": "x".repeat(REPLY_MAX)}), false).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn an_error_that_cannot_be_sent_whole_goes_without_its_fields() {
        let mut out = Vec::new();
        write_error(&mut out, &ErrorReply::invalid_parameter("a\0b"));
        assert_eq!(out, b"{\"error\":\"org.varlink.service.InvalidParameter\"}\0");
    }

    #[test]
    fn a_reply_that_is_not_json_leaves_no_trace() {
        let mut out = b"before".to_vec();
        let keys = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(write_reply(&mut out, &keys, false).is_err());
        assert_eq!(out, b"before");
    }
}
