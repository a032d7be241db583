//! A record as lookups read it: in one pass, without a copy of it.

use crate::decimal::parse_decimal;
use crate::env_file::{Lexer, Sink, trim_key};
use crate::owner::private_to;
use crate::text::{Text, has};
use crate::{Address, IdKind, IdRange, Key, LeaderIdentity, MachineName, RECORD_MAX};

/// What a record lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// A line of addresses begins: those of an earlier line do not count.
    Addresses,
    /// The next address.
    Address(Address),
    /// A line with a map begins: an earlier one of its kind does not count.
    Map(IdKind),
    /// The next range of the map.
    Range(IdKind, IdRange),
}

/// Where what a record lists goes, in its order.
pub trait RecordSink {
    /// Takes the next item.
    fn take(&mut self, item: Item);
}

/// What a record says of its machine's class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClassState {
    /// It is a container.
    Container,
    /// It is anything else.
    Other,
}

/// What a record says of its machine's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressState {
    /// Nothing: they are not known, as in a record that another daemon wrote.
    Unknown,
    /// The machine shares the host's network and has none of its own.
    SharedWithHost,
    /// These are all (there may be none at the moment).
    Listed,
}

/// What a record says besides its lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// The class.
    pub class: ClassState,
    /// The leader, for [`is_alive`](crate::is_alive).
    pub leader: LeaderIdentity,
    /// Whose alone its name is, as [`Record::private_to`](crate::Record::private_to) has it.
    pub private_to: Option<u32>,
    /// What is known of its addresses; those listed went to the sink.
    pub addresses: AddressState,
}

struct Collector<'a> {
    sink: &'a mut dyn RecordSink,
    name: MachineName,
    key: Text<24>,
    /// Whose value is read; `None` if that is of no use.
    field: Option<Key>,
    word: Text<64>,
    words: u32,
    class: Option<ClassState>,
    leader: LeaderIdentity,
    uid: Option<u32>,
    is_public: bool,
    addresses: AddressState,
    damaged: bool,
}

/// Reads a record in pieces.
pub struct RecordScan<'a> {
    lexer: Lexer,
    collector: Collector<'a>,
    length: usize,
    last: u8,
}

impl<'a> RecordScan<'a> {
    /// Starts to read the record of this machine.
    pub const fn new(name: MachineName, sink: &'a mut dyn RecordSink) -> Self {
        Self {
            lexer: Lexer::new(),
            collector: Collector {
                sink,
                name,
                key: Text::EMPTY,
                field: None,
                word: Text::EMPTY,
                words: 0,
                class: None,
                leader: LeaderIdentity { pid: 0, pidfd_id: 0, start_time: 0, pid_namespace: 0 },
                uid: None,
                is_public: false,
                addresses: AddressState::Unknown,
                damaged: false,
            },
            length: 0,
            last: 0,
        }
    }

    /// Takes the next piece of the file.
    pub fn feed(&mut self, piece: &[u8]) {
        self.length = self.length.saturating_add(piece.len());
        self.collector.damaged |= has(piece, 0);
        self.last = piece.last().copied().unwrap_or(self.last);
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            self.lexer.feed(byte, &mut self.collector);
            // Half of a record is of no use to a reader.
            let dull = if self.collector.field.is_none() { self.lexer.dull(behind) } else { 0 };
            rest = behind.get(dull..).unwrap_or_default();
        }
    }

    /// The file ends here. Returns what the record says; `None` if it is damaged: longer than [`RECORD_MAX`], cut
    /// off within a line, of another name, without a class, or with a field that is not what it must be. What went
    /// to the sink counts for nothing then.
    pub fn finish(mut self) -> Option<RecordHead> {
        self.lexer.finish(&mut self.collector);
        let Collector { class, leader, uid, is_public, addresses, damaged, .. } = self.collector;
        let whole = !damaged && self.last == b'\n' && self.length <= RECORD_MAX;
        let private_to = private_to(uid, is_public);
        class.filter(|_| whole).map(|class| RecordHead { class, leader, private_to, addresses })
    }
}

impl Collector<'_> {
    /// A word of the current value is complete.
    fn word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = self.word.get();
        let number = word.and_then(parse_decimal);
        self.words = self.words.saturating_add(1);
        let good = match self.field {
            Some(Key::Name) => word == Some(self.name.as_bytes()),
            Some(Key::Class) => {
                let is_container = word == Some(b"container") && self.words == 1;
                self.class = Some(if is_container { ClassState::Container } else { ClassState::Other });
                true
            }
            Some(Key::Uid) => {
                number.and_then(|uid| u32::try_from(uid).ok()).map(|uid| self.uid = Some(uid)).is_some()
            }
            Some(Key::Public) => {
                self.is_public = word == Some(b"1") && self.words == 1;
                true
            }
            Some(Key::Leader) => {
                number.and_then(|pid| i32::try_from(pid).ok()).map(|pid| self.leader.pid = pid).is_some()
            }
            Some(Key::LeaderPidfdId) => number.map(|id| self.leader.pidfd_id = id).is_some(),
            Some(Key::LeaderStartTime) => number.map(|time| self.leader.start_time = time).is_some(),
            Some(Key::PidNamespace) => number.map(|inode| self.leader.pid_namespace = inode).is_some(),
            Some(Key::Netif) => number.is_some_and(|index| (1..=0x7fff_ffff).contains(&index)),
            Some(Key::Addresses) => self.address(),
            Some(Key::UidMap) => self.range(IdKind::User),
            Some(Key::GidMap) => self.range(IdKind::Group),
            _ => true,
        };
        let single = matches!(
            self.field,
            Some(
                Key::Name
                    | Key::Uid
                    | Key::Leader
                    | Key::LeaderPidfdId
                    | Key::LeaderStartTime
                    | Key::PidNamespace
            )
        );
        self.damaged |= !good || (single && self.words > 1);
        self.word.clear();
    }

    fn address(&mut self) -> bool {
        match self.word.get() {
            Some(word) if word == b"host" && self.words == 1 => {
                self.addresses = AddressState::SharedWithHost;
                true
            }
            Some(word) if self.addresses == AddressState::Listed => {
                Address::parse(word).map(|address| self.sink.take(Item::Address(address))).is_some()
            }
            _ => false,
        }
    }

    fn range(&mut self, kind: IdKind) -> bool {
        let range = self.word.get().and_then(IdRange::parse);
        range.map(|range| self.sink.take(Item::Range(kind, range))).is_some()
    }
}

impl Sink for Collector<'_> {
    fn key(&mut self) {
        self.key.clear();
    }

    fn key_byte(&mut self, byte: u8) {
        self.key.push(byte);
    }

    fn value(&mut self) {
        self.field = self.key.get().and_then(|key| Key::of_lookups(trim_key(key)));
        self.word.clear();
        self.words = 0;
        match self.field {
            Some(Key::Addresses) => {
                self.addresses = AddressState::Listed;
                self.sink.take(Item::Addresses);
            }
            Some(Key::Public) => self.is_public = false,
            Some(Key::UidMap) => self.sink.take(Item::Map(IdKind::User)),
            Some(Key::GidMap) => self.sink.take(Item::Map(IdKind::Group)),
            _ => {}
        }
    }

    // Once, and not in each place: the module of the name service switch has to be small.
    #[inline(never)]
    fn value_byte(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            self.word();
        } else {
            self.word.push(byte);
        }
    }

    fn value_end(&mut self, _trailing: usize) {
        self.word();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    #[derive(Default)]
    struct List(Vec<String>);

    impl RecordSink for List {
        fn take(&mut self, item: Item) {
            match item {
                Item::Addresses => self.0.clear(),
                Item::Address(address) => self.0.push(address.to_string()),
                Item::Map(kind) => self.0.retain(|item| !item.starts_with(&std::format!("{kind:?}"))),
                Item::Range(kind, range) => self.0.push(std::format!("{kind:?} {range}")),
            }
        }
    }

    fn scan(text: &[u8]) -> (Vec<String>, Option<RecordHead>) {
        let whole = scan_in_pieces(text, text.len().max(1));
        assert_eq!(whole, scan_in_pieces(text, 1), "the size of the pieces makes no difference");
        whole
    }

    fn scan_in_pieces(text: &[u8], size: usize) -> (Vec<String>, Option<RecordHead>) {
        let mut list = List::default();
        let mut scan = RecordScan::new(MachineName::new(b"web").unwrap(), &mut list);
        text.chunks(size).for_each(|piece| scan.feed(piece));
        let head = scan.finish();
        (list.0, head)
    }

    #[test]
    fn a_record_says_class_leader_and_addresses() {
        let (addresses, entry) = scan(
            b"# This is private data. Do not parse.\nNAME=web\nSERVICE=\"my svc\"\nLEADER=42\nLEADER_PIDFDID=77\n\
              CLASS=container\nNETIF=\" 2 3\"\nADDRESSES=\"10.0.0.2 fe80::1%5\"\nPIDNS=5\nLEADER_STARTTIME=9\n",
        );
        assert_eq!(addresses, ["10.0.0.2", "fe80::1%5"]);
        let leader = LeaderIdentity { pid: 42, pidfd_id: 77, start_time: 9, pid_namespace: 5 };
        assert_eq!(
            entry,
            Some(RecordHead {
                class: ClassState::Container,
                leader,
                private_to: None,
                addresses: AddressState::Listed
            })
        );
    }

    #[test]
    fn addresses_have_four_states() {
        let state = |line: &str| {
            scan(std::format!("CLASS=container\nLEADER=1\n{line}").as_bytes()).1.unwrap().addresses
        };
        assert_eq!(state(""), AddressState::Unknown);
        assert_eq!(state("ADDRESSES=\n"), AddressState::Listed);
        assert_eq!(state("ADDRESSES=host\n"), AddressState::SharedWithHost);
        assert_eq!(state("ADDRESSES=10.0.0.1\n"), AddressState::Listed);
    }

    #[test]
    fn a_users_machine_is_private_but_for_an_administrators() {
        let private_to = |lines: &str| {
            let text = std::format!("CLASS=container\nLEADER=1\n{lines}");
            let scanned = scan(text.as_bytes()).1.unwrap().private_to;
            let name = MachineName::new(b"web").unwrap();
            assert_eq!(
                crate::Record::parse(&name, text.as_bytes()).unwrap().private_to(),
                scanned,
                "{lines:?}"
            );
            scanned
        };
        assert_eq!(private_to(""), None);
        assert_eq!(private_to("UID=0\n"), None);
        assert_eq!(private_to("UID=1000\n"), Some(1000));
        assert_eq!(private_to("UID=1000\nPUBLIC=1\n"), None);
        assert_eq!(private_to("PUBLIC=1\nUID=1000\n"), None);
        for doubtful in ["", "0", "yes", "11", "\"1 1\""] {
            assert_eq!(
                private_to(&std::format!("UID=1000\nPUBLIC={doubtful}\n")),
                Some(1000),
                "{doubtful:?}"
            );
        }
        assert_eq!(private_to("UID=1000\nPUBLIC=1\nPUBLIC=\n"), Some(1000));
    }

    #[test]
    fn the_last_of_two_lines_counts() {
        let (addresses, entry) =
            scan(b"CLASS=vm\nCLASS=container\nADDRESSES=10.0.0.1\nADDRESSES=10.0.0.2\nLEADER=1\n");
        assert_eq!(addresses, ["10.0.0.2"]);
        assert_eq!(entry.unwrap().class, ClassState::Container);
    }

    #[test]
    fn maps_are_listed_range_by_range() {
        let (items, head) = scan(
            b"CLASS=container\nLEADER=1\nUIDMAP=\"0:100000:1000 1000:1000:1\"\nGIDMAP=5:6:7\nGIDMAP=0:200000:65536\n",
        );
        assert!(head.is_some());
        assert_eq!(items, ["User 0:100000:1000", "User 1000:1000:1", "Group 0:200000:65536"]);
        assert_eq!(scan(b"CLASS=container\nUIDMAP=\n").0, [""; 0]);
    }

    #[test]
    fn what_is_skipped_in_values_of_others_hides_no_line() {
        for other in [
            "X=plain",
            "X=a\\\\b",
            "X=ends\\\nin the next",
            "X=\"two\nlines\"",
            "X=\"quote \\\" and\nLEADER=2\"",
            "X='it\\'",
            "X='a'\"b\"c d",
            "X=\r",
            "# a comment \\\nLEADER=2",
            "; LEADER=2",
            "no value",
            "X=",
        ] {
            let text = std::format!("CLASS=container\n{other}\nLEADER=1\n{other}\nUIDMAP=0:100000:10\n");
            let (items, head) = scan(text.as_bytes());
            assert_eq!(head.map(|head| head.leader.pid), Some(1), "{other:?}");
            assert_eq!(items, ["User 0:100000:10"], "{other:?}");
        }
        assert_eq!(scan(b"CLASS=container\nLEADER=1\nX=a\0b\n").1, None, "a zero byte");
    }

    #[test]
    fn damaged_records_are_told_from_empty_answers() {
        for text in [
            "",
            "LEADER=42\n",
            "CLASS=container\nLEADER=42",
            "CLASS=container\nLEADER=x\n",
            "CLASS=container\nLEADER=1 2\n",
            "CLASS=container\nLEADER=99999999999\n",
            "CLASS=container\nLEADER=1\nUID=x\n",
            "CLASS=container\nLEADER=1\nUID=4294967296\n",
            "CLASS=container\nLEADER=1\nUID=\"0 0\"\n",
            "CLASS=container\nLEADER=1\nADDRESSES=10.0.0\n",
            "CLASS=container\nLEADER=1\nADDRESSES=\"10.0.0.1 host\"\n",
            "CLASS=container\nLEADER=1\nADDRESSES=\"host 10.0.0.1\"\n",
            "CLASS=container\nLEADER=1\nNETIF=0\n",
            "CLASS=container\nLEADER=1\nNETIF=eth0\n",
            "CLASS=container\nLEADER=1\nUIDMAP=0:0:0\n",
            "CLASS=container\nLEADER=1\nGIDMAP=\"0:100000:65536 x\"\n",
            "NAME=other\nCLASS=container\nLEADER=1\n",
            "CLASS=container\nLEADER=1\nX=\0\n",
        ] {
            assert_eq!(scan(text.as_bytes()).1, None, "{text:?}");
        }
        let address = "1".repeat(70);
        assert_eq!(scan(std::format!("CLASS=container\nADDRESSES={address}\n").as_bytes()).1, None);
        assert_eq!(scan(std::format!("CLASS=container\nX={}\n", "x".repeat(RECORD_MAX)).as_bytes()).1, None);
    }

    #[test]
    fn long_keys_and_words_are_not_mistaken_for_short_ones() {
        let (_, entry) = scan(
            b"CLASS=containerxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\
            LEADERxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=7\n",
        );
        assert_eq!(entry.unwrap().class, ClassState::Other);
        assert_eq!(entry.unwrap().leader.pid, 0);
    }
}
