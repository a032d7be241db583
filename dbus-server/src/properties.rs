//! `org.freedesktop.DBus.Properties` of an object.

use std::collections::HashMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use zbus::{Signature, Type};

use crate::call::{Call, Reply};
use crate::error_reply::ErrorReply;
use crate::signature;
use crate::standard::{INTROSPECTABLE, PEER, PROPERTIES};
use crate::table::{Interface, Property, Value};

/// Properties in the order of their table.
struct Dictionary(Vec<(&'static str, Value)>);

impl Type for Dictionary {
    const SIGNATURE: &'static Signature = <HashMap<&str, Value> as Type>::SIGNATURE;
}

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What `Get` and `Set` are about: a property, and the name of its interface. More arguments are none of their business.
fn property<C, O>(
    interfaces: &'static [Interface<C, O>],
    call: &Call,
) -> Result<(&'static str, &'static Property<C, O>), ErrorReply> {
    let refused = || ErrorReply::invalid_args("Expected interface and member parameters");
    let body = call.message().body();
    if !signature::begins_with(body.signature(), "ss") {
        return Err(refused());
    }
    let (interface, name): (String, String) = body.deserialize_ignore_signature().map_err(|_| refused())?;
    let rows = interfaces.iter().filter(|row| row.name == interface);
    rows.flat_map(|row| row.properties.iter().map(|property| (row.name, property)))
        .find(|(_, property)| property.name == name)
        .ok_or_else(|| ErrorReply::unknown_property(&interface, &name))
}

/// `Get`.
pub(crate) fn get<C, O>(
    context: &C,
    subject: &O,
    interfaces: &'static [Interface<C, O>],
    call: &Call,
) -> Result<Reply, ErrorReply> {
    let (_, row) = property(interfaces, call)?;
    call.reply(&(row.get)(context, subject)?)
}

/// `GetAll`: of one interface, or of all where none is named.
pub(crate) fn get_all<C, O>(
    context: &C,
    subject: Option<&O>,
    interfaces: &'static [Interface<C, O>],
    call: &Call,
) -> Result<Reply, ErrorReply> {
    let refused = || ErrorReply::invalid_args("Expected interface parameter");
    let body = call.message().body();
    if !signature::begins_with(body.signature(), "s") {
        return Err(refused());
    }
    let asked: String = body.deserialize_ignore_signature().map_err(|_| refused())?;
    let named = |interface: &&Interface<C, O>| asked.is_empty() || interface.name == asked;
    let is_known = asked.is_empty() || [PEER, INTROSPECTABLE, PROPERTIES].contains(&asked.as_str());
    if !is_known && !interfaces.iter().any(|interface| named(&interface)) {
        return Err(ErrorReply::unknown_interface(&asked));
    }
    let mut values = Vec::new();
    let rows = interfaces.iter().filter(named).flat_map(|interface| interface.properties);
    for (row, subject) in rows.filter(|row| !row.hidden).zip(std::iter::repeat(subject)) {
        if let Some(subject) = subject {
            values.push((row.name, (row.get)(context, subject)?));
        }
    }
    call.reply(&Dictionary(values))
}

/// `Set`, by somebody who may.
pub(crate) async fn set<C, O>(
    context: &C,
    subject: &O,
    interfaces: &'static [Interface<C, O>],
    call: &Call,
) -> Result<Reply, ErrorReply> {
    let (interface, row) = property(interfaces, call)?;
    let set = row.set.ok_or_else(|| ErrorReply::read_only(row.name))?;
    let body = call.message().body();
    let text = signature::text(body.signature());
    let given = text.get(2..).unwrap_or_default();
    if !given.starts_with('v') {
        let got = given.get(..1).unwrap_or_default();
        let message =
            format!("Incorrect signature when setting property '{}', expected 'v', got '{got}'.", row.name);
        return Err(ErrorReply::new("org.freedesktop.DBus.Error.InvalidSignature", message));
    }
    let malformed = |error: zbus::Error| ErrorReply::invalid_args(error.to_string());
    // A variant begins with the signature of its value. A value of any other type is not read: anybody may send one, and
    // it takes a hundred times its bytes.
    let (_, _, got): (String, String, Signature) = body.deserialize_ignore_signature().map_err(malformed)?;
    let got = got.to_string();
    if got != row.signature {
        let message = format!(
            "Incorrect parameters for property '{}', expected '{}', got '{got}'.",
            row.name, row.signature
        );
        return Err(ErrorReply::invalid_args(message));
    }
    if !call.credentials().await?.is_privileged() {
        return Err(ErrorReply::access_denied(interface, row.name));
    }
    let (_, _, value): (String, String, zbus::OwnedVariant) =
        body.deserialize_ignore_signature().map_err(malformed)?;
    set(context, subject, value.into())?;
    call.reply(&())
}
