//! What a record says, collected from its text in two passes: the registry's own says whether it is damaged, and what it lists;
//! the other one collects what only people want to know.

use registry::{
    Address, AddressSource, EnvLexer, EnvSink, IdKind, IdRange, Item, Key, MachineId, MachineName,
    RecordHead, RecordScan, RecordSink, parse_decimal, trim_key,
};

use crate::buffer::Buffer;
use crate::errno::Errno;

/// A text that a record may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Field {
    /// Container or virtual machine.
    Class,
    /// What started it.
    Service,
    /// The systemd unit it runs in.
    Unit,
    /// The control group below the unit, if the machine is not all of it.
    Subgroup,
    /// Its root directory on the host, as its registrar said.
    Root,
    /// Where its SSH server is reached.
    SshAddress,
    /// The private key for it.
    SshPrivateKeyPath,
    /// The Varlink address of its manager.
    ControlAddress,
    /// Its control group, as the daemon sees it.
    ControlGroup,
}

/// A number that a record may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Number {
    /// The uid that registered it.
    Owner,
    /// The process that looks after it.
    Supervisor,
    /// The inode number of that process's pidfd.
    SupervisorPidfdId,
    /// When it was registered, microseconds of `CLOCK_REALTIME`.
    Realtime,
    /// When it was registered, microseconds of `CLOCK_MONOTONIC`.
    Monotonic,
    /// Its `AF_VSOCK` context id.
    VsockCid,
    /// The inode number of its control group.
    ControlGroupId,
}

const FIELDS: [(Key, Field); 9] = [
    (Key::Class, Field::Class),
    (Key::Service, Field::Service),
    (Key::Scope, Field::Unit),
    (Key::Subgroup, Field::Subgroup),
    (Key::Root, Field::Root),
    (Key::SshAddress, Field::SshAddress),
    (Key::SshPrivateKeyPath, Field::SshPrivateKeyPath),
    (Key::ControlAddress, Field::ControlAddress),
    (Key::Cgroup, Field::ControlGroup),
];

const NUMBERS: [(Key, Number); 7] = [
    (Key::Uid, Number::Owner),
    (Key::Supervisor, Number::Supervisor),
    (Key::SupervisorPidfdId, Number::SupervisorPidfdId),
    (Key::Realtime, Number::Realtime),
    (Key::Monotonic, Number::Monotonic),
    (Key::VsockCid, Number::VsockCid),
    (Key::CgroupId, Number::ControlGroupId),
];

/// Where each text begins among all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields([Option<usize>; FIELDS.len()]);

impl Fields {
    /// Where this text begins, if the record has it.
    pub(crate) fn get(&self, field: Field) -> Option<usize> {
        let index = FIELDS.iter().position(|(_, known)| *known == field)?;
        *self.0.get(index)?
    }
}

/// The numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers([Option<u64>; NUMBERS.len()]);

impl Numbers {
    /// This number, as it stands in the record, if it has it.
    pub(crate) fn get(&self, number: Number) -> Option<u64> {
        let index = NUMBERS.iter().position(|(_, known)| *known == number)?;
        *self.0.get(index)?
    }
}

/// All that a record says.
pub(crate) struct Contents {
    pub(crate) head: RecordHead,
    pub(crate) lists: Lists,
    pub(crate) values: Values,
}

impl Contents {
    /// Reads the text of a record.
    ///
    /// # Errors
    /// `EBADMSG`, `ENOMEM`.
    pub(crate) fn of(name: &MachineName, text: &[u8]) -> Result<Self, Errno> {
        let mut lists = Lists::default();
        let mut scan = RecordScan::new(*name, &mut lists);
        scan.feed(text);
        let head = scan.finish();
        lists.result?;
        let head = head.ok_or(Errno::BADMSG)?;
        let mut values = Values::default();
        let mut lexer = EnvLexer::new();
        for &byte in text {
            lexer.feed(byte, &mut values);
        }
        lexer.finish(&mut values);
        values.result?;
        Ok(Self { head, lists, values })
    }
}

/// What the registry's scan of a record lists.
pub(crate) struct Lists {
    pub(crate) addresses: Buffer<Address>,
    pub(crate) uid_map: Buffer<IdRange>,
    pub(crate) gid_map: Buffer<IdRange>,
    result: Result<(), Errno>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { addresses: Buffer::new(), uid_map: Buffer::new(), gid_map: Buffer::new(), result: Ok(()) }
    }
}

impl RecordSink for Lists {
    fn take(&mut self, item: Item) {
        let pushed = match item {
            Item::Addresses => {
                self.addresses.truncate(0);
                Ok(())
            }
            Item::Address(address) => self.addresses.push(address),
            Item::Map(IdKind::User) => {
                self.uid_map.truncate(0);
                Ok(())
            }
            Item::Map(IdKind::Group) => {
                self.gid_map.truncate(0);
                Ok(())
            }
            Item::Range(IdKind::User, range) => self.uid_map.push(range),
            Item::Range(IdKind::Group, range) => self.gid_map.push(range),
        };
        self.result = self.result.and(pushed);
    }
}

/// Texts and numbers, as they are met.
pub(crate) struct Values {
    key: Buffer<u8>,
    /// All texts, each followed by a zero byte.
    pub(crate) texts: Buffer<u8>,
    /// Where the current value begins.
    start: usize,
    pub(crate) fields: Fields,
    pub(crate) numbers: Numbers,
    pub(crate) id: Option<MachineId>,
    pub(crate) interfaces: Buffer<i32>,
    /// Those that the registry has found besides.
    pub(crate) found: Buffer<i32>,
    /// Where the addresses are known from.
    pub(crate) sources: Buffer<AddressSource>,
    result: Result<(), Errno>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            key: Buffer::new(),
            texts: Buffer::new(),
            start: 0,
            fields: Fields([None; FIELDS.len()]),
            numbers: Numbers([None; NUMBERS.len()]),
            id: None,
            interfaces: Buffer::new(),
            found: Buffer::new(),
            sources: Buffer::new(),
            result: Ok(()),
        }
    }
}

impl Values {
    /// Takes the value that begins at `start`; keeps its text only if it is one.
    fn take(&mut self) -> Result<(), Errno> {
        let Some(key) = Key::of(trim_key(&self.key)) else {
            self.texts.truncate(self.start);
            return Ok(());
        };
        let value = self.texts.get(self.start..).unwrap_or_default();
        let field = FIELDS.iter().zip(&mut self.fields.0).find(|((name, _), _)| *name == key);
        if let Some((_, slot)) = field {
            if value.is_empty() {
                *slot = None;
                return Ok(());
            }
            *slot = Some(self.start);
            return self.texts.push(0);
        }
        let number = NUMBERS.iter().zip(&mut self.numbers.0).find(|((name, _), _)| *name == key);
        if let Some((_, slot)) = number {
            *slot = Some(parse_decimal(value).ok_or(Errno::BADMSG)?);
        } else if key == Key::Id {
            self.id = MachineId::parse(value).ok_or(Errno::BADMSG)?;
        } else if key == Key::Netif {
            indexes(value, &mut self.interfaces)?;
        } else if key == Key::NetifFound {
            indexes(value, &mut self.found)?;
        } else if key == Key::AddressesFrom {
            sources(value, &mut self.sources)?;
        }
        self.texts.truncate(self.start);
        Ok(())
    }
}

/// Takes each word of a value, until one is refused.
#[inline(never)]
fn each_word(value: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut words = value.split(|byte| b" \t\n\r".contains(byte)).filter(|word| !word.is_empty());
    words.try_for_each(take)
}

/// The indexes of interfaces, in the place of those there are.
#[inline(never)]
fn indexes(value: &[u8], list: &mut Buffer<i32>) -> Result<(), Errno> {
    list.truncate(0);
    each_word(value, &mut |word| {
        let index = parse_decimal(word).and_then(|index| i32::try_from(index).ok());
        list.push(index.ok_or(Errno::BADMSG)?)
    })
}

/// The sources of addresses, in the place of those there are. Later versions may have others: then no source is known, and that
/// is no reason to lose a machine.
#[inline(never)]
fn sources(value: &[u8], list: &mut Buffer<AddressSource>) -> Result<(), Errno> {
    list.truncate(0);
    let mut are_known = true;
    each_word(value, &mut |word| match AddressSource::from_name(word) {
        Some(source) => list.push(source),
        None => {
            are_known = false;
            Ok(())
        }
    })?;
    if !are_known {
        list.truncate(0);
    }
    Ok(())
}

impl EnvSink for Values {
    fn key(&mut self) {
        self.key.truncate(0);
    }
    fn key_byte(&mut self, byte: u8) {
        let pushed = self.key.push(byte);
        self.result = self.result.and(pushed);
    }
    fn value(&mut self) {
        self.start = self.texts.len();
    }
    fn value_byte(&mut self, byte: u8) {
        let pushed = self.texts.push(byte);
        self.result = self.result.and(pushed);
    }
    fn value_end(&mut self, trailing: usize) {
        let length = self.texts.len().saturating_sub(trailing).max(self.start);
        self.texts.truncate(length);
        let taken = self.take();
        self.result = self.result.and(taken);
    }
}
