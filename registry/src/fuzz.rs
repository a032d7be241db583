//! Anything where text of the registry is read: no panic, and what is read and written again stays what it was.

use std::string::{String, ToString};
use std::vec::Vec;

use fuzzing::Target;

use crate::id_index::fuzz::claims_in_pieces;
use crate::{
    Address, Alias, IdKind, IdName, IdRange, Item, MachineName, Record, RecordHead, RecordScan, RecordSink,
    is_valid_id, map_to_host, map_to_machine, parse_env_file, parse_kernel_map, start_time_of_stat,
};

macro_rules! corpus {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/", $name)
    };
}

fn name() -> MachineName {
    MachineName::new(b"web").unwrap()
}

#[derive(Default)]
struct Items(Vec<Item>);

impl RecordSink for Items {
    fn take(&mut self, item: Item) {
        self.0.push(item);
    }
}

fn scan(text: &[u8], piece: usize) -> (Vec<Item>, Option<RecordHead>) {
    let mut items = Items::default();
    let mut scan = RecordScan::new(name(), &mut items);
    for piece in text.chunks(piece) {
        scan.feed(piece);
    }
    let head = scan.finish();
    (items.0, head)
}

#[test]
fn any_text_is_a_record_or_none_and_is_written_as_it_was_read() {
    let words: Vec<String> = crate::Key::ALL.iter().map(|key| std::format!("{}=", key.name())).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend([
        "\n",
        "container",
        "host",
        "vm",
        "0:100000:65536",
        "10.0.0.1",
        "fe80::1%5",
        "\"",
        "$",
        "# ",
    ]);
    Target { corpus: corpus!("record"), words: &words, longest: 4096 }.run(|text| {
        let whole = scan(text, usize::MAX);
        for piece in [1, 7] {
            assert_eq!(scan(text, piece), whole);
        }
        if let Ok(record) = Record::parse(&name(), text) {
            let written = record.emit();
            assert_eq!(Record::parse(&name(), written.as_bytes()).unwrap(), record, "{written}");
            // Whoever scans it and whoever keeps it have the same leader.
            if let (_, Some(head)) = whole {
                assert_eq!(head.leader.pid, record.leader_identity().pid);
                if record.leader.is_some() {
                    assert_eq!(head.leader, record.leader_identity());
                }
            }
        }
    });
}

#[test]
fn any_text_is_an_environment_file() {
    let words = ["A=", "='", "\"", "\\", "\n", "\r", "#", ";", " ", "\t", "\u{c}", "\0"];
    Target { corpus: corpus!("env-file"), words: &words, longest: 1024 }.run(|text| {
        let pairs = parse_env_file(text);
        // A line that begins with it has it in its key, as in the original.
        assert!(
            pairs.iter().all(|(key, _)| !key.iter().skip(1).any(|byte| b"\n=".contains(byte))),
            "{pairs:?}"
        );
        // A last line that says something else takes nothing away, unless the text ends within another one.
        let more = parse_env_file(&[text, b"\nLAST=1\n"].concat());
        assert!(more.len() >= pairs.len(), "{pairs:?} {more:?}");
    });
}

#[test]
fn any_text_is_an_address_or_none() {
    let words = ["::", ".", "%", "255", "fe80:", "ffff:", "0"];
    Target { corpus: corpus!("address"), words: &words, longest: 96 }.run(|text| {
        if let Some(address) = Address::parse(text) {
            let written = address.to_string();
            assert_eq!(Address::parse(written.as_bytes()), Some(address), "{written}");
        }
    });
}

#[test]
fn any_text_is_an_id_map_or_none_that_leads_there_and_back() {
    Target { corpus: corpus!("id-map"), words: &[":", "\n", " ", "\t", "0:0:1"], longest: 512 }.run(|text| {
        let kernels: Vec<IdRange> = parse_kernel_map(text).flatten().collect();
        let ours = text.split(|byte| *byte == b'\n').filter_map(IdRange::parse);
        for range in ours.chain(kernels.iter().copied()) {
            let last = range.inside + (range.count - 1);
            for inside in [range.inside, last, last.wrapping_add(1), 0, u32::MAX] {
                if let Some(outside) = range.to_host(inside) {
                    assert_eq!(range.to_machine(outside), Some(inside), "{range:?}");
                }
            }
            assert!(range.to_host(last).is_some(), "{range:?}");
        }
        for id in [0, 65_535, 100_000, u32::MAX] {
            let _ = (map_to_host(&kernels, id), map_to_machine(&kernels, id), is_valid_id(id));
        }
    });
}

#[test]
fn any_text_is_a_list_of_an_index() {
    let words = [":", ";", "web", "65536", "100000", "4026531837"];
    Target { corpus: corpus!("id-index"), words: &words, longest: 2048 }.run(|text| {
        for id in [65_536, 100_000, 165_535, u32::MAX] {
            let whole = claims_in_pieces(text, id, usize::MAX);
            assert_eq!(claims_in_pieces(text, id, 1), whole);
        }
    });
}

#[test]
fn any_text_is_a_name_or_none() {
    let words = ["vu-", "vg-", "-", ".", ".host", "xn--", "\u{e9}", "m", "0"];
    Target { corpus: corpus!("name"), words: &words, longest: 300 }.run(|text| {
        if let Ok(name) = MachineName::new(text) {
            assert_eq!(name.as_bytes(), text);
            assert_eq!(Alias::parse(Alias::of(&name).as_str().as_bytes()), Some(Alias::of(&name)));
        }
        for kind in [IdKind::User, IdKind::Group] {
            if let Some((machine, inside)) = IdName::parse(kind, text) {
                let again = IdName::new(kind, &machine, inside).unwrap();
                assert_eq!(again.as_bytes(), text);
            }
        }
        let _ = (Alias::parse(text), start_time_of_stat(text));
    });
}
