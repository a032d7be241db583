//! A record as the resolver of host names reads it: in one pass, without a copy of it.

use crate::address::{Address, parse_decimal};
use crate::env_file::{Lexer, Sink};
use crate::{LeaderIdentity, MachineName, RECORD_MAX};

/// Where the addresses of a record go, in its order.
pub trait AddressSink {
    /// Another `ADDRESSES=` line begins: what came before does not count.
    fn restart(&mut self);
    /// The next address.
    fn push(&mut self, address: Address);
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

/// What a record says to the resolver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostEntry {
    /// The class.
    pub class: ClassState,
    /// The leader, for [`is_alive`](crate::is_alive).
    pub leader: LeaderIdentity,
    /// What is known of its addresses; those listed went to the sink.
    pub addresses: AddressState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Other,
    Name,
    Class,
    Leader,
    PidfdId,
    StartTime,
    PidNamespace,
    Interfaces,
    Addresses,
}

impl Field {
    fn of_key(key: &[u8]) -> Self {
        match key {
            b"NAME" => Self::Name,
            b"CLASS" => Self::Class,
            b"LEADER" => Self::Leader,
            b"LEADER_PIDFDID" => Self::PidfdId,
            b"LEADER_STARTTIME" => Self::StartTime,
            b"PIDNS" => Self::PidNamespace,
            b"NETIF" => Self::Interfaces,
            b"ADDRESSES" => Self::Addresses,
            _ => Self::Other,
        }
    }
}

/// Text of at most N bytes; longer text is none, never its first part.
struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

struct Collector<S> {
    sink: S,
    name: MachineName,
    key: Text<24>,
    field: Field,
    word: Text<64>,
    words: u32,
    class: Option<ClassState>,
    leader: LeaderIdentity,
    addresses: AddressState,
    damaged: bool,
}

/// Reads a record in pieces.
pub struct HostScan<S> {
    lexer: Lexer,
    collector: Collector<S>,
    length: usize,
    last: u8,
}

impl<S: AddressSink> HostScan<S> {
    /// Starts to read the record of this machine.
    pub const fn new(name: MachineName, sink: S) -> Self {
        Self {
            lexer: Lexer::new(),
            collector: Collector {
                sink,
                name,
                key: Text::EMPTY,
                field: Field::Other,
                word: Text::EMPTY,
                words: 0,
                class: None,
                leader: LeaderIdentity { pid: 0, pidfd_id: 0, start_time: 0, pid_namespace: 0 },
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
        for &byte in piece {
            self.collector.damaged |= byte == 0;
            self.last = byte;
            self.lexer.feed(byte, &mut self.collector);
        }
    }

    /// The file ends here. Returns the sink, and what the record says; `None` if the record is damaged: longer
    /// than [`RECORD_MAX`], cut off within a line, of another name, without a class, or with a field that is not
    /// what it must be.
    pub fn finish(mut self) -> (S, Option<HostEntry>) {
        self.lexer.finish(&mut self.collector);
        let Collector { sink, class, leader, addresses, damaged, .. } = self.collector;
        let whole = !damaged && self.last == b'\n' && self.length <= RECORD_MAX;
        (sink, class.filter(|_| whole).map(|class| HostEntry { class, leader, addresses }))
    }
}

impl<S: AddressSink> Collector<S> {
    /// A word of the current value is complete.
    fn word(&mut self) {
        if self.word.length == 0 {
            return;
        }
        let word = self.word.get();
        let number = word.and_then(parse_decimal);
        self.words = self.words.saturating_add(1);
        let good = match self.field {
            Field::Other => true,
            Field::Name => word == Some(self.name.as_bytes()),
            Field::Class => {
                self.class = Some(match word {
                    Some(b"container") if self.words == 1 => ClassState::Container,
                    _ => ClassState::Other,
                });
                true
            }
            Field::Leader => {
                number.and_then(|pid| i32::try_from(pid).ok()).map(|pid| self.leader.pid = pid).is_some()
            }
            Field::PidfdId => number.map(|id| self.leader.pidfd_id = id).is_some(),
            Field::StartTime => number.map(|time| self.leader.start_time = time).is_some(),
            Field::PidNamespace => number.map(|inode| self.leader.pid_namespace = inode).is_some(),
            Field::Interfaces => number.is_some_and(|index| (1..=0x7fff_ffff).contains(&index)),
            Field::Addresses => self.address(),
        };
        let single =
            !matches!(self.field, Field::Other | Field::Class | Field::Interfaces | Field::Addresses);
        self.damaged |= !good || (single && self.words > 1);
        self.word.length = 0;
    }

    fn address(&mut self) -> bool {
        match self.word.get() {
            Some(b"host") if self.words == 1 => {
                self.addresses = AddressState::SharedWithHost;
                true
            }
            Some(word) if self.addresses == AddressState::Listed => {
                Address::parse(word).map(|address| self.sink.push(address)).is_some()
            }
            _ => false,
        }
    }
}

impl<S: AddressSink> Sink for Collector<S> {
    fn key(&mut self) {
        self.key.length = 0;
    }

    fn key_byte(&mut self, byte: u8) {
        self.key.push(byte);
    }

    fn value(&mut self) {
        self.field = self.key.get().map_or(Field::Other, |key| Field::of_key(key.trim_ascii_end()));
        self.word.length = 0;
        self.words = 0;
        if self.field == Field::Addresses {
            self.addresses = AddressState::Listed;
            self.sink.restart();
        }
    }

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

    impl AddressSink for List {
        fn restart(&mut self) {
            self.0.clear();
        }
        fn push(&mut self, address: Address) {
            self.0.push(address.to_string());
        }
    }

    fn scan(text: &[u8]) -> (Vec<String>, Option<HostEntry>) {
        let whole = scan_in_pieces(text, text.len().max(1));
        assert_eq!(whole, scan_in_pieces(text, 1), "the size of the pieces makes no difference");
        whole
    }

    fn scan_in_pieces(text: &[u8], size: usize) -> (Vec<String>, Option<HostEntry>) {
        let mut scan = HostScan::new(MachineName::new(b"web").unwrap(), List::default());
        text.chunks(size).for_each(|piece| scan.feed(piece));
        let (list, entry) = scan.finish();
        (list.0, entry)
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
            Some(HostEntry { class: ClassState::Container, leader, addresses: AddressState::Listed })
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
    fn the_last_of_two_lines_counts() {
        let (addresses, entry) =
            scan(b"CLASS=vm\nCLASS=container\nADDRESSES=10.0.0.1\nADDRESSES=10.0.0.2\nLEADER=1\n");
        assert_eq!(addresses, ["10.0.0.2"]);
        assert_eq!(entry.unwrap().class, ClassState::Container);
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
            "CLASS=container\nLEADER=1\nADDRESSES=10.0.0\n",
            "CLASS=container\nLEADER=1\nADDRESSES=\"10.0.0.1 host\"\n",
            "CLASS=container\nLEADER=1\nADDRESSES=\"host 10.0.0.1\"\n",
            "CLASS=container\nLEADER=1\nNETIF=0\n",
            "CLASS=container\nLEADER=1\nNETIF=eth0\n",
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
