//! Where an address of a machine is known from.

/// Where an address of a machine is known from, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum AddressSource {
    /// The kernel: an interface of the machine's own has it, in the network namespace of its leader.
    Interface,
    /// Whoever registered the machine has given it.
    Given,
    /// A DHCP server on this host has leased it to the machine.
    Lease,
    /// The kernel has met it on the way to the machine: its table of neighbours.
    Neighbour,
}

impl AddressSource {
    /// The word for it in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Given => "given",
            Self::Lease => "lease",
            Self::Neighbour => "neighbour",
        }
    }

    /// The source of this name.
    pub const fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"interface" => Some(Self::Interface),
            b"given" => Some(Self::Given),
            b"lease" => Some(Self::Lease),
            b"neighbour" => Some(Self::Neighbour),
            _ => None,
        }
    }
}

/// The source of the address in this place of a list. Where the sources are fewer than the addresses, the last one is that of
/// all the others.
pub fn source_at(sources: &[AddressSource], place: usize) -> Option<AddressSource> {
    sources.get(place).or(sources.last()).copied()
}

/// The sources of the addresses of one machine, as [`source_at`] reads them. Those of almost all machines are alike, and take
/// no room of their own.
#[cfg(feature = "std")]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources(Few);

#[cfg(feature = "std")]
#[derive(Clone, PartialEq, Eq, Debug)]
enum Few {
    One(AddressSource),
    /// None, or two at least.
    Several(std::boxed::Box<[AddressSource]>),
}

#[cfg(feature = "std")]
impl Default for Few {
    fn default() -> Self {
        Self::Several(std::boxed::Box::default())
    }
}

#[cfg(feature = "std")]
impl From<&[AddressSource]> for Sources {
    fn from(sources: &[AddressSource]) -> Self {
        Self(match sources {
            [one] => Few::One(*one),
            several => Few::Several(several.into()),
        })
    }
}

#[cfg(feature = "std")]
impl core::ops::Deref for Sources {
    type Target = [AddressSource];

    fn deref(&self) -> &[AddressSource] {
        match &self.0 {
            Few::One(one) => core::slice::from_ref(one),
            Few::Several(several) => several,
        }
    }
}

/// The fewest sources that say the same of so many addresses.
#[cfg(feature = "std")]
pub(crate) fn shortest(sources: &[AddressSource], addresses: usize) -> &[AddressSource] {
    let mut rest = sources.get(..addresses).unwrap_or(sources);
    while let [before @ .., last] = rest
        && before.last() == Some(last)
    {
        rest = before;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_known_by_its_name_and_by_no_other() {
        use AddressSource::{Given, Interface, Lease, Neighbour};
        for source in [Interface, Given, Lease, Neighbour] {
            assert_eq!(AddressSource::from_name(source.name().as_bytes()), Some(source));
        }
        for name in [&b""[..], b"LEASE", b"lease ", b"agent"] {
            assert_eq!(AddressSource::from_name(name), None);
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn sources_that_are_alike_take_no_room_of_their_own() {
        use AddressSource::{Given, Lease};
        assert!(size_of::<Sources>() <= 16);
        for sources in [&[][..], &[Lease], &[Given, Lease]] {
            assert_eq!(&*Sources::from(sources), sources);
        }
        assert_eq!(Sources::from(&[Lease][..]), Sources(Few::One(Lease)));
    }

    #[test]
    fn the_last_source_is_that_of_all_the_others() {
        use AddressSource::{Given, Lease};
        let at = |sources: &[AddressSource]| [0, 1, 2].map(|place| source_at(sources, place));
        assert_eq!(at(&[Given, Lease]), [Some(Given), Some(Lease), Some(Lease)]);
        assert_eq!(at(&[]), [None; 3]);
    }
}
