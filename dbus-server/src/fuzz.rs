//! Any bytes on the bus: no panic, and what is handed to zbus is a message that it can read.
//!
//! # Safety
//!
//! `Message::from_bytes` asks for the bytes of a message, and checks them itself: that it does is what is tried here.
#![allow(unsafe_code, reason = "see Safety")]

use fuzzing::Target;
use zbus::Message;
use zbus::wire::serialized::{Context, Data};

use crate::header::{CUT, Frame};
use crate::label::Label;

macro_rules! corpus {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/", $name)
    };
}

/// Whether zbus makes something of these bytes.
fn is_message(bytes: Vec<u8>, frame: Frame) -> bool {
    // SAFETY: see Safety.
    unsafe { Message::from_bytes(Data::new(bytes, Context::new(frame.endian, 0))) }.is_ok()
}

#[test]
fn any_header_is_cleaned_or_refused_and_stays_one() {
    let words = [
        "l\u{1}\0\u{1}",
        "\u{1}s\0",
        "\u{1}o\0",
        "\u{1}g\0",
        "\u{1}u\0",
        "\u{1}v\0",
        "\u{2}ay\0",
        "org.a.B",
        "/a",
    ];
    Target { corpus: corpus!("header"), words: &words, longest: 4096 }.run(|bytes| {
        let Some(frame) = Frame::of(bytes) else { return };
        let mut message = bytes.to_vec();
        if frame.clean(&mut message).is_some() {
            assert_eq!(message[2] & CUT, 0);
            let again = Frame::of(&message).unwrap();
            let (once, was_one) = (message.clone(), is_message(message.clone(), again));
            // What is clean stays as it is.
            assert!(again.clean(&mut message).is_some());
            assert_eq!(message, once);
            // What zbus makes something of, it does without the body too.
            if was_one && let Some(cut) = again.cut(&once) {
                assert!(cut[2] & CUT != 0 && cut.len() <= once.len());
                assert!(is_message(cut.clone(), Frame::of(&cut).unwrap()));
            }
        }
    });
}

#[test]
fn any_text_is_a_part_of_a_path_and_back() {
    let words = ["_", "_2e", "/", ".", "_zz"];
    Target { corpus: corpus!("label"), words: &words, longest: 256 }.run(|text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        let label = Label::of(text);
        assert!(label.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{label:?}");
        assert_eq!(label.name().as_deref(), Some(text));
        let _ = Label::of_path(text).name();
    });
}
