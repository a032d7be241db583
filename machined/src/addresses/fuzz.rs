//! Any datagram, as a container's root may send them: no panic, and nothing that is read is behind its end.

use fuzzing::Target;

use super::message::{Attributes, Messages};
use super::route::{changed, route};
use super::rtnetlink::{address, link, nsid};

#[test]
fn any_datagram_is_messages_or_malformed() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/netlink");
    let words = ["\u{14}\0\0\0", "\u{8}\0\u{1}\0", "\u{4}\0\u{12}\0", "\0\0\0\0"];
    Target { corpus, words: &words, longest: 8192 }.run(|bytes| {
        let mut taken = 0;
        for message in Messages::new(bytes) {
            let Ok(message) = message else { break };
            taken += message.payload.len() + 16;
            let _ = (address(&message), link(&message), nsid(&message), route(&message), changed(&message));
            for header in [0, 8, 16] {
                let inside = Attributes::after(header, message.payload).flatten();
                assert!(inside.map(|(_, payload)| payload.len()).sum::<usize>() <= message.payload.len());
            }
        }
        assert!(taken <= bytes.len());
    });
}
