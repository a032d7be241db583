//! The messages on the wire: calls as they go out, replies as they come in.

use serde::de::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a call asks for beyond its reply.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// A stream of replies.
    pub more: bool,
    /// No reply.
    pub oneway: bool,
}

#[derive(Serialize)]
struct Call<'a, T> {
    method: &'a str,
    parameters: &'a T,
    #[serde(skip_serializing_if = "is_off")]
    more: bool,
    #[serde(skip_serializing_if = "is_off")]
    oneway: bool,
}

fn is_off(flag: &bool) -> bool {
    !flag
}

/// A call, NUL byte included.
///
/// # Errors
/// `parameters` cannot be JSON.
pub fn call(method: &str, parameters: &impl Serialize, flags: Flags) -> serde_json::Result<Vec<u8>> {
    let Flags { more, oneway } = flags;
    let mut bytes = serde_json::to_vec(&Call { method, parameters, more, oneway })?;
    bytes.push(0);
    Ok(bytes)
}

/// A reply, before anything is known about it.
#[derive(Debug, Deserialize)]
pub struct Incoming {
    /// Absent and null are the same as empty.
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    /// The name of the error that it is.
    #[serde(default)]
    pub error: Option<String>,
    /// More replies follow.
    #[serde(default)]
    pub continues: bool,
}

impl Incoming {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no reply.
    pub fn read(message: &[u8]) -> serde_json::Result<Self> {
        // A struct can be read from an array, too.
        match message.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => serde_json::from_slice(message),
            _ => Err(serde_json::Error::custom("it is no object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_names_only_the_flags_that_it_has() {
        let text = |flags| String::from_utf8(call("a.B", &json!({"x": 1}), flags).unwrap()).unwrap();
        assert_eq!(text(Flags::default()), "{\"method\":\"a.B\",\"parameters\":{\"x\":1}}\0");
        let streaming = Flags { more: true, oneway: false };
        assert_eq!(text(streaming), "{\"method\":\"a.B\",\"parameters\":{\"x\":1},\"more\":true}\0");
    }

    #[test]
    fn a_reply_need_not_have_anything() {
        let read = |text: &str| Incoming::read(text.as_bytes());
        let empty = read("{}").unwrap();
        assert!(empty.parameters.is_none() && empty.error.is_none() && !empty.continues);
        assert_eq!(read(r#"{"error":"a.E"}"#).unwrap().error.unwrap(), "a.E");
        assert!(read(r#"{"parameters":null,"continues":true}"#).unwrap().continues);
        assert!(read("[]").is_err() && read(r#"{"parameters":[]}"#).is_err());
    }
}
