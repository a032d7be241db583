//! What a record says, collected from its text in two passes: the registry's own says whether it is damaged, and what it lists;
//! the other one collects what only people want to know.

use registry::{
    Address, AddressSource, EnvLexer, EnvSink, IdKind, IdRange, Item, Key, MachineId, MachineName,
    RecordHead, RecordScan, RecordSink, parse_decimal, trim_key,
};

use crate::buffer::Buffer;
use crate::errno::Errno;

/// What a record may have by its keys.
pub(crate) trait Keyed: Copy + PartialEq + 'static {
    /// Each with its key.
    const KEYS: &[(Key, Self)];
}

macro_rules! keyed {
    ($(#[$about:meta])* $name:ident: $($(#[$each:meta])* $variant:ident by $key:ident,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl Keyed for $name {
            const KEYS: &[(Key, Self)] = &[$((Key::$key, Self::$variant)),*];
        }
    };
}

keyed! {
    /// A text that a record may have.
    Field:
    /// Container or virtual machine.
    Class by Class,
    /// What started it.
    Service by Service,
    /// The systemd unit it runs in.
    Unit by Scope,
    /// The control group below the unit, if the machine is not all of it.
    Subgroup by Subgroup,
    /// Its root directory on the host, as its registrar said.
    Root by Root,
    /// Where its SSH server is reached.
    SshAddress by SshAddress,
    /// The private key for it.
    SshPrivateKeyPath by SshPrivateKeyPath,
    /// The Varlink address of its manager.
    ControlAddress by ControlAddress,
    /// Its control group, as the daemon sees it.
    ControlGroup by Cgroup,
}

keyed! {
    /// A number that a record may have.
    Number:
    /// The uid that registered it.
    Owner by Uid,
    /// The process that looks after it.
    Supervisor by Supervisor,
    /// The inode number of that process's pidfd.
    SupervisorPidfdId by SupervisorPidfdId,
    /// When it was registered, microseconds of `CLOCK_REALTIME`.
    Realtime by Realtime,
    /// When it was registered, microseconds of `CLOCK_MONOTONIC`.
    Monotonic by Monotonic,
    /// Its `AF_VSOCK` context id.
    VsockCid by VsockCid,
    /// The inode number of its control group.
    ControlGroupId by CgroupId,
}

/// What a record has of these, in the order of their keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<T, const N: usize>([Option<T>; N]);

/// Where each text begins among all of them.
pub(crate) type Fields = Found<usize, { Field::KEYS.len() }>;
/// The numbers, as they stand in the record.
pub(crate) type Numbers = Found<u64, { Number::KEYS.len() }>;

impl<T: Copy, const N: usize> Found<T, N> {
    const NOTHING: Self = Self([None; N]);

    /// What the record has of this.
    pub(crate) fn get<K: Keyed>(&self, wanted: K) -> Option<T> {
        let index = K::KEYS.iter().position(|(_, known)| *known == wanted)?;
        *self.0.get(index)?
    }

    /// Where what a key tells has its place, if it is one of these keys.
    fn slot<K: Keyed>(&mut self, key: Key) -> Option<&mut Option<T>> {
        K::KEYS.iter().zip(&mut self.0).find(|((known, _), _)| *known == key).map(|(_, slot)| slot)
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
            fields: Fields::NOTHING,
            numbers: Numbers::NOTHING,
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
        if let Some(slot) = self.fields.slot::<Field>(key) {
            if value.is_empty() {
                *slot = None;
                return Ok(());
            }
            *slot = Some(self.start);
            return self.texts.push(0);
        }
        if let Some(slot) = self.numbers.slot::<Number>(key) {
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
