//! The check of a call's parameters against the interface description.

use serde_json::{Map, Value};

use super::idl::{Field, Idl, Type};
use super::message::Object;

/// The name of the first parameter that breaks the description: what `InvalidParameter` reports.
#[derive(Debug, PartialEq, Eq)]
pub struct BadParameter(pub String);

type Checked<T> = Result<T, BadParameter>;

/// What the original's own parsers ask of a field beyond what the description can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nullable, but null is refused: absent is not the same as null.
    NotNull,
    /// A struct in which null stands for "absent" in this one member.
    NullMember(&'static str),
    /// An integer, or a word that the handler knows (`TERM` for 15) and has to check.
    IntOrWord,
    /// An integer that text does not stand for.
    Number,
}

/// Checks `object` against `fields`, and returns it in one canonical form: nulls are gone, and every
/// integer is a JSON integer, though decimal strings are accepted in its place.
///
/// # Errors
/// The declared fields are looked at first, in the order of the description, then the unknown ones in
/// the order of the message, then the rules. Whatever is wrong inside a field, the field itself is named.
pub fn check(
    idl: &Idl,
    fields: &[Field],
    rules: &[(&str, Rule)],
    object: Object,
) -> Checked<Map<String, Value>> {
    let Object(mut members) = object;
    let has = |name: &str, rule| rules.contains(&(name, rule));
    let mut checked = Map::new();
    let mut refused = None;
    for field in fields {
        let bad = || Err(BadParameter(field.name.to_owned()));
        let mut values = members.iter_mut().enumerate().filter(|(_, (name, _))| name == field.name);
        let value = values.next().map(|(place, (_, value))| (place, value.take()));
        if values.next().is_some() {
            return bad();
        }
        match value {
            Some((_, word @ Value::String(_))) if has(field.name, Rule::IntOrWord) => {
                checked.insert(field.name.to_owned(), integer(&word).unwrap_or(word));
            }
            Some((_, Value::String(_))) if has(field.name, Rule::Number) => return bad(),
            Some((_, mut value)) if !value.is_null() => {
                drop_null_members(field.name, rules, &mut value);
                match canonical(idl, &field.shape, value) {
                    Some(value) => checked.insert(field.name.to_owned(), value).map_or((), drop),
                    None => return bad(),
                }
            }
            _ if !field.nullable => return bad(),
            Some((place, _)) if has(field.name, Rule::NotNull) => {
                refused = refused.into_iter().chain([(place, field.name)]).min();
            }
            _ => {}
        }
    }
    let declared = |name: &String| fields.iter().any(|field| field.name == name);
    let unknown = members.into_iter().map(|(name, _)| name).find(|name| !declared(name));
    match unknown.or(refused.map(|(_, name)| name.to_owned())) {
        Some(name) => Err(BadParameter(name)),
        None => Ok(checked),
    }
}

fn drop_null_members(field: &str, rules: &[(&str, Rule)], value: &mut Value) {
    for (name, rule) in rules {
        if let (Rule::NullMember(member), Value::Object(members)) = (rule, &mut *value)
            && *name == field
            && members.get(*member).is_some_and(Value::is_null)
        {
            members.remove(*member);
        }
    }
}

/// `value` in its canonical form; `None` when it does not have this shape. In here null is never absent.
fn canonical(idl: &Idl, shape: &Type, value: Value) -> Option<Value> {
    match (shape, value) {
        (Type::Named(place), value) => canonical(idl, &idl.types.get(*place)?.shape, value),
        // The decimal strings that stand for integers elsewhere do not stand for the items of a list.
        (Type::Array(inner), Value::Array(items))
            if matches!(**inner, Type::Int) && items.iter().any(Value::is_string) =>
        {
            None
        }
        (Type::Array(inner), Value::Array(items)) => {
            items.into_iter().map(|item| canonical(idl, inner, item)).collect::<Option<_>>().map(Value::Array)
        }
        (Type::Map(inner), Value::Object(items)) => {
            let items = items.into_iter().map(|(key, item)| Some((key, canonical(idl, inner, item)?)));
            items.collect::<Option<_>>().map(Value::Object)
        }
        (Type::Struct(fields), Value::Object(items)) => {
            let nulls = items.values().any(Value::is_null);
            let checked = check(idl, fields, &[], Object(items.into_iter().collect()));
            checked.ok().filter(|_| !nulls).map(Value::Object)
        }
        (Type::Enum(words), Value::String(word)) => {
            words.contains(&word.as_str()).then_some(Value::String(word))
        }
        (Type::Int, value) => integer(&value),
        (Type::Bool, value @ Value::Bool(_))
        | (Type::Float, value @ Value::Number(_))
        | (Type::String, value @ Value::String(_))
        | (Type::Object, value @ Value::Object(_))
        | (Type::Any, value) => Some(value),
        _ => None,
    }
}

/// An integer of 64 bits, signed or not, from a number or from a decimal string: JSON's own numbers
/// are safe up to 2^53 only, so clients send large ones as text.
fn integer(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) if !number.is_f64() => Some(value.clone()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0)?;
            format!("{whole:.0}").parse::<i64>().ok().map(Value::from)
        }
        Value::String(text) => {
            text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "interface a.b\ntype Word(yes, no)\ntype Pid(pid: int, boot: ?string)\n\
        method M(name: string, count: ?int, on: ?bool, word: ?Word, pid: ?Pid, list: ?[]int,\n\
        map: ?[string]string, any: ?any, float: ?float, object: ?object) -> ()";

    const RULES: &[(&str, Rule)] =
        &[("word", Rule::NotNull), ("on", Rule::NotNull), ("count", Rule::IntOrWord)];

    #[test]
    fn text_stands_for_an_integer_unless_a_rule_says_otherwise() {
        let idl = Idl::parse(TEXT).unwrap();
        let checked = |rules: &[(&str, Rule)], count: &str| {
            let object = serde_json::from_str(&format!(r#"{{"name":"","count":{count}}}"#)).unwrap();
            check(&idl, &idl.methods[0].input, rules, object).map(|checked| checked["count"].clone())
        };
        let number = [("count", Rule::Number)];
        assert_eq!(checked(&[], "\"5\""), Ok(json!(5)));
        assert_eq!(checked(&number, "\"5\""), Err(BadParameter("count".into())));
        assert_eq!(checked(&number, "5"), Ok(json!(5)));
        assert_eq!(checked(&number, "5.0"), Ok(json!(5)));
    }

    fn check_text(parameters: &str) -> Result<Value, String> {
        let idl = Idl::parse(TEXT).unwrap();
        let object = serde_json::from_str(parameters).unwrap();
        check(&idl, &idl.methods[0].input, RULES, object)
            .map(Value::Object)
            .map_err(|BadParameter(name)| name)
    }

    #[test]
    fn good_parameters_come_out_in_canonical_form() {
        let cases = [
            (r#"{"name":"x"}"#, json!({"name":"x"})),
            (r#"{"name":"x","count":null,"list":null}"#, json!({"name":"x"})),
            (r#"{"name":"","count":"TERM"}"#, json!({"name":"","count":"TERM"})),
            (r#"{"name":"","count":"-7"}"#, json!({"name":"","count":-7})),
            (r#"{"name":"","count":"18446744073709551615"}"#, json!({"name":"","count":u64::MAX})),
            (r#"{"name":"","count":5.0}"#, json!({"name":"","count":5})),
            (r#"{"name":"","word":"yes"}"#, json!({"name":"","word":"yes"})),
            (
                r#"{"name":"","pid":{"pid":"1"},"list":[1,2.0]}"#,
                json!({"name":"","pid":{"pid":1},"list":[1,2]}),
            ),
            (
                r#"{"name":"","map":{"a":"b"},"any":[1,{}],"float":1,"object":{"x":[]},"on":false}"#,
                json!({"name":"","map":{"a":"b"},"any":[1,{}],"float":1,"object":{"x":[]},"on":false}),
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(check_text(input), Ok(expected), "{input}");
        }
    }

    #[test]
    fn the_first_bad_parameter_is_named() {
        let cases = [
            ("{}", "name"),
            (r#"{"name":null}"#, "name"),
            (r#"{"name":1}"#, "name"),
            (r#"{"name":"x","name":"x"}"#, "name"),
            (r#"{"name":"x","bogus":1,"bogus":1}"#, "bogus"),
            (r#"{"name":"x","word":null}"#, "word"),
            (r#"{"name":"x","on":null,"word":null}"#, "on"),
            (r#"{"name":"x","word":null,"on":null}"#, "word"),
            (r#"{"name":"x","word":null,"bogus":1}"#, "bogus"),
            (r#"{"zzz":1,"bogus":1,"name":"x"}"#, "zzz"),
            (r#"{"bogus":1}"#, "name"),
            (r#"{"bogus":1,"on":1,"name":"x"}"#, "on"),
            (r#"{"name":"","count":1.5}"#, "count"),
            (r#"{"name":"","list":["x"]}"#, "list"),
            (r#"{"name":"","list":[1,"2"]}"#, "list"),
            (r#"{"name":"","count":true}"#, "count"),
            (r#"{"name":"","on":"yes"}"#, "on"),
            (r#"{"name":"","word":"maybe"}"#, "word"),
            (r#"{"name":"","word":1}"#, "word"),
            (r#"{"name":"","pid":1}"#, "pid"),
            (r#"{"name":"","pid":{"boot":"x"}}"#, "pid"),
            (r#"{"name":"","pid":{"pid":1,"boot":2}}"#, "pid"),
            (r#"{"name":"","pid":{"pid":1,"what":2}}"#, "pid"),
            (r#"{"name":"","pid":{"pid":1,"boot":null}}"#, "pid"),
            (r#"{"name":"","list":[1,null]}"#, "list"),
            (r#"{"name":"","list":{}}"#, "list"),
            (r#"{"name":"","map":{"a":1}}"#, "map"),
            (r#"{"name":"","float":"1"}"#, "float"),
            (r#"{"name":"","object":[]}"#, "object"),
        ];
        for (input, name) in cases {
            assert_eq!(check_text(input), Err(name.to_owned()), "{input}");
        }
    }
}
