//! Any bytes of a peer's, and any interface description: no panic, and what a message is does not depend on how it came.
//!
//! # Safety
//!
//! A description is read from text that lives for ever. That of a test is given back when nothing of it is left.
#![allow(unsafe_code, reason = "see Safety")]

use fuzzing::Target;
use serde_json::Value;
use turns::User;

use crate::idl::Idl;
use crate::inbox::{Budget, Inbox, Share};
use crate::message::{Object, RawCall};
use crate::validate::{Rule, check};

macro_rules! corpus {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/", $name)
    };
}

/// The messages in what comes in pieces of this length.
fn messages(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let (mut inbox, mut messages) = (Inbox::new(Share::of(&Budget::new(1 << 20), User::Uid(1))), Vec::new());
    for piece in bytes.chunks(piece) {
        inbox.room().extend(piece);
        while inbox.find().unwrap() {
            messages.push(inbox.message().to_vec());
            inbox.next_message();
        }
    }
    messages
}

#[test]
fn any_bytes_are_messages_however_they_are_cut() {
    Target { corpus: corpus!("inbox"), words: &["\0", "{}", "[", ","], longest: 4096 }.run(|bytes| {
        let mut expected: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        expected.pop();
        for piece in [1, 5, usize::MAX] {
            assert_eq!(messages(bytes, piece), expected);
        }
    });
}

const TEXT: &str = "interface a.b\ntype Word(yes, no)\ntype Pid(pid: int, boot: ?string, inner: ?Pid)\n\
    method M(name: string, count: ?int, on: ?bool, word: ?Word, pid: ?Pid, list: ?[]int,\n\
    map: ?[string]string, any: ?any, float: ?float, object: ?object) -> ()";

#[test]
fn any_call_is_valid_or_names_what_is_wrong() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "null",
        "true",
        "\"method\":\"a.b.M\"",
        "\"parameters\":",
        "\"more\":true",
        "\"name\":\"a\"",
        "\"pid\":{\"pid\":1}",
        "\"list\":[1]",
        "\"map\":{\"a\":\"b\"}",
        "1e400",
        "\\u0000",
        "\\ud800",
    ];
    let idl = Idl::parse(TEXT).unwrap();
    let rules = [("count", Rule::IntOrWord), ("word", Rule::NotNull)];
    let input = &idl.methods[0].input;
    let object = |value: &Value| serde_json::from_str::<Object>(&value.to_string()).unwrap();
    Target { corpus: corpus!("call"), words: &words, longest: 4096 }.run(|text| {
        let _ = RawCall::read(text);
        let Ok(parameters) = serde_json::from_slice::<Object>(text) else { return };
        if let Ok(checked) = check(&idl, input, &rules, parameters) {
            let checked = Value::Object(checked);
            // It is in one form then, which is valid too.
            let again = check(&idl, input, &rules, object(&checked)).unwrap();
            assert_eq!(Value::Object(again), checked);
        }
    });
}

#[test]
fn any_text_is_a_description_or_an_error_that_names_a_line() {
    let words = [
        "interface ",
        "type ",
        "method ",
        "error ",
        "(",
        ")",
        "->",
        "[]",
        "[string]",
        "?",
        ":",
        ",",
        "#",
        "\n",
        "int",
        "a.b",
        "object",
        "any",
    ];
    Target { corpus: corpus!("idl"), words: &words, longest: 2048 }.run(|text| {
        let Ok(text) = String::from_utf8(text.to_vec()) else { return };
        let text: &'static mut str = Box::leak(text.into_boxed_str());
        let at = std::ptr::from_mut(text);
        // SAFETY: it was leaked right above, and is read only from here on, until nothing has it any more.
        let parsed = Idl::parse(unsafe { &*at });
        if let Err(error) = &parsed {
            assert!(!error.to_string().is_empty());
        }
        drop(parsed);
        // SAFETY: made by Box::leak, and nothing of it is left.
        drop(unsafe { Box::from_raw(at) });
    });
}
