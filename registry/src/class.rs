//! What kind of machine it is.

use core::fmt;

/// The class of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// An OS container: it shares the host's kernel.
    Container,
    /// A virtual machine: it has a kernel of its own.
    Vm,
}

impl Class {
    /// The class with this name, as it stands in a record.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"container" => Some(Self::Container),
            b"vm" => Some(Self::Vm),
            _ => None,
        }
    }

    /// The name of the class.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Vm => "vm",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
