use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

const UNKNOWN: u8 = 42;
const NEXT: &str = "Next";

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await.unwrap() })
}

/// A variant in a structure in a variant. As messages are here, numbers are in the order of this processor.
fn nested() -> Vec<u8> {
    [&b"\x01v\0\x04(sv)\0\0\0\0\0\0\0"[..], &1_u32.to_ne_bytes(), b"a\0\x01g\0\x01u\0"].concat()
}

fn pair() -> (Reader, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (BusSocket::new(OwnedFd::from(ours).into(), None).unwrap().split().take().0, theirs)
}

fn call(member: &str, text: &str) -> Vec<u8> {
    let call = Message::method_call("/a/path", member).destination("a.name").interface("an.interface");
    call.sender(":1.7").build(&(text, 7_u32)).unwrap().data().to_vec()
}

/// The message with one more field, in front of the others or behind them.
fn with_field(message: &[u8], field: &[u8], is_first: bool) -> Vec<u8> {
    let frame = Frame::of(message).unwrap();
    let length = usize::try_from(u32::from_ne_bytes(message[12..16].try_into().unwrap())).unwrap();
    let fields = &message[START..START + length];
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let fields = if is_first { [&padded(field), fields].concat() } else { [&padded(fields), field].concat() };
    let mut new = message[..12].to_vec();
    new.extend(u32::try_from(fields.len()).unwrap().to_ne_bytes());
    new.extend(fields);
    [&padded(&new), &message[frame.header..]].concat()
}

/// What comes in when these bytes are sent and then a message that is as it should be.
async fn received(bytes: Vec<u8>) -> (Vec<Message>, usize) {
    let (mut reader, mut theirs) = pair();
    let sending = std::thread::spawn(move || {
        theirs.write_all(&bytes).unwrap();
        theirs.write_all(&call(NEXT, "next")).unwrap();
        theirs
    });
    let mut messages = Vec::new();
    loop {
        let message = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        if message.header().member().unwrap().as_str() == NEXT {
            assert_eq!(message.body().deserialize::<(&str, u32)>().unwrap(), ("next", 7));
            drop(sending.join().unwrap());
            return (messages, reader.buffer.capacity());
        }
        messages.push(message);
    }
}

#[test]
fn any_bytes_on_the_connection_are_messages_or_its_end() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/header");
    let words = ["l\u{1}\0\u{1}", "\u{1}s\0", "\u{1}v\0", "\u{1}u\0", "\0\0\0\0"];
    // More than a socket keeps would wait for the reader.
    fuzzing::Target { corpus, words: &words, longest: 32 << 10 }.run(|bytes| {
        block_on(async {
            let (mut reader, mut theirs) = pair();
            theirs.write_all(bytes).unwrap();
            drop(theirs);
            let mut count = 0_usize;
            while let Ok(message) = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await {
                // As those who read them do.
                let _ = (message.header().member().is_some(), message.body().deserialize::<&str>().is_ok());
                count += 1;
            }
            assert!(count <= bytes.len() / START);
        });
    });
}

#[test]
fn a_field_that_is_not_known_is_ignored() {
    let values = [
        [&b"\x01u\0"[..], &7_u32.to_ne_bytes()].concat(),
        [&b"\x01s\0"[..], &3_u32.to_ne_bytes(), b"abc\0"].concat(),
        b"\x01y\0\xff".to_vec(),
        [&b"\x02ay\0\0\0\0"[..], &2_u32.to_ne_bytes(), b"ab"].concat(),
        nested(),
    ];
    block_on(async {
        for value in &values {
            for is_first in [true, false] {
                for code in [UNKNOWN, 10, 255] {
                    let field = [&[code], value.as_slice()].concat();
                    let (messages, _) = received(with_field(&call("A", "text"), &field, is_first)).await;
                    let [message] = &*messages else { panic!("{value:?}: {messages:?}") };
                    let header = message.header();
                    assert_eq!(header.sender().unwrap().as_str(), ":1.7");
                    assert_eq!(header.path().unwrap().as_str(), "/a/path");
                    assert_eq!(message.body().deserialize::<(&str, u32)>().unwrap(), ("text", 7));
                }
            }
        }
    });
}

#[test]
fn what_is_no_message_is_left_out() {
    let good = call("A", "text");
    let mut of_no_type = good.clone();
    of_no_type[1] = 9;
    let mut without_serial = good.clone();
    without_serial[8..12].fill(0);
    let broken = with_field(&good, &[UNKNOWN, 1, b'?', 0, 0], false);
    let twice = with_field(&good, b"\x03\x01s\0\x01\0\0\0A\0", true);
    block_on(async {
        for bytes in [of_no_type, without_serial, broken, twice] {
            let (messages, _) = received([bytes, good.clone()].concat()).await;
            assert_eq!(messages.len(), 1);
        }
    });
}

#[test]
fn of_what_is_too_large_only_the_header_comes_in() {
    block_on(async {
        let (messages, capacity) = received(call("A", &"x".repeat(MESSAGE))).await;
        assert!(is_cut(&messages[0]) && messages[0].body().is_empty());
        assert_eq!(messages[0].header().sender().unwrap().as_str(), ":1.7");
        assert_eq!(capacity, BUFFER);
        let (messages, _) = received(call("A", &"x".repeat(MESSAGE / 2))).await;
        assert!(!is_cut(&messages[0]));
        let reply = Message::method_return(&messages[0].header()).build(&"x".repeat(MESSAGE)).unwrap();
        let (mut reader, mut theirs) = pair();
        let sending = std::thread::spawn(move || theirs.write_all(reply.data()));
        let got = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        assert_eq!(got.body().deserialize::<&str>().unwrap().len(), MESSAGE);
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn a_message_with_a_header_without_end_is_left_out() {
    let field = [&[UNKNOWN, 1, b's', 0][..], &0x20000_u32.to_ne_bytes(), &[b'x'; 0x20000], &[0]].concat();
    block_on(async {
        assert!(received(with_field(&call("A", "text"), &field, true)).await.0.is_empty());
    });
}

#[test]
fn no_sender_can_say_that_its_message_was_cut() {
    let mut bytes = call("A", "text");
    bytes[2] |= CUT | 4;
    block_on(async {
        let (messages, _) = received(bytes).await;
        assert!(!is_cut(&messages[0]));
        assert_eq!(messages[0].primary_header().flags().bits(), 4);
    });
}

/// Sends a call with so many descriptors, and says that there are so many.
fn send_with(theirs: &UnixStream, said: u32, sent: usize, text: &str) {
    let null = std::fs::File::open("/dev/null").unwrap();
    let field = [&[9, 1, b'u', 0][..], &said.to_ne_bytes()].concat();
    let bytes = with_field(&call("A", text), &field, false);
    let descriptors: Vec<_> = (0..sent).map(|_| null.as_fd()).collect();
    let mut rest = &*bytes;
    let length = send(theirs.as_fd(), &[IoSlice::new(rest)], &descriptors).unwrap();
    rest = &rest[length..];
    (&*theirs).write_all(rest).unwrap();
}

#[test]
fn descriptors_come_with_the_message_that_has_them() {
    block_on(async {
        let (mut reader, theirs) = pair();
        for (said, sent) in [(0, 0), (2, 2), (0, 0), (1, 1), (16, 16), (17, 17), (253, 253), (3, 3)] {
            send_with(&theirs, said, sent, "text");
        }
        let mut counts = Vec::new();
        for _ in 0..8 {
            let message = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
            counts.push((message.data().fds().len(), is_cut(&message)));
        }
        let (kept, cut) = (|count| (count, false), (0, true));
        assert_eq!(counts, [kept(0), kept(2), kept(0), kept(1), kept(16), cut, cut, kept(3)]);
        assert!(reader.sets.is_empty());
    });
}

#[test]
fn descriptors_of_a_message_that_is_left_out_are_nobody_elses() {
    block_on(async {
        let (mut reader, theirs) = pair();
        let sending = std::thread::spawn(move || {
            send_with(&theirs, 3, 3, &"x".repeat(2 * MESSAGE));
            send_with(&theirs, 1, 1, "text");
            theirs
        });
        for expected in [0, 1] {
            let message = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
            assert_eq!(message.data().fds().len(), expected);
        }
        assert!(reader.sets.is_empty());
        drop(sending.join().unwrap());
    });
}

#[test]
fn a_message_whose_descriptors_got_lost_is_cut_and_takes_nobody_elses() {
    block_on(async {
        let (mut reader, theirs) = pair();
        send_with(&theirs, 2, 1, "text");
        reader.fill().await.unwrap();
        reader.sets[0].is_short = true;
        send_with(&theirs, 1, 1, "text");
        for expected in [(0, true), (1, false)] {
            let message = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
            assert_eq!((message.data().fds().len(), is_cut(&message)), expected);
        }
    });
}

#[test]
fn a_message_comes_in_pieces_as_it_does_at_once() {
    block_on(async {
        for size in [0, BUFFER - 150, BUFFER, 3 * BUFFER] {
            let (mut reader, mut theirs) = pair();
            let bytes = [call("A", &"x".repeat(size)), call("B", "text"), call("C", "text")].concat();
            let sending = std::thread::spawn(move || {
                for piece in bytes.chunks(7) {
                    theirs.write_all(piece).unwrap();
                }
                theirs
            });
            for member in ["A", "B", "C"] {
                let message = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
                assert_eq!(message.header().member().unwrap().as_str(), member);
            }
            drop(sending.join().unwrap());
        }
    });
}

#[test]
fn no_byte_of_a_header_takes_the_connection_away() {
    let good = with_field(&call("A", "text"), &[&[UNKNOWN], nested().as_slice()].concat(), true);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut number = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below).unwrap()).unwrap()
    };
    let mut bytes = Vec::new();
    for _ in 0..5000 {
        let mut message = good.clone();
        for _ in 0..=number(3) {
            // Where a message ends is what a bus is believed in.
            let at = loop {
                let at = number(message.len());
                if at != 0 && !(4..8).contains(&at) && !(12..16).contains(&at) {
                    break at;
                }
            };
            message[at] = u8::try_from(number(256)).unwrap();
        }
        bytes.extend(message);
    }
    block_on(async {
        let (messages, _) = received(bytes).await;
        assert!(messages.len() > 100, "{}", messages.len());
    });
}
