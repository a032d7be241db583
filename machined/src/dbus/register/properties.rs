//! What a machine is, as a list of properties: the forms that newer systemd has.

use dbus_server::ErrorReply;
use rustix::io::Errno;
use zbus::{Fd, Variant};

use super::{List, Wish, class_of, indices, machine_id, root_directory};
use crate::dbus::errors;
use crate::dbus::leader::NamedLeader;

/// A machine as its registrar describes it.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub wish: Wish,
    pub leader: NamedLeader,
}

/// What is looked at when all properties are there.
#[derive(Default)]
struct Later {
    class: String,
    root: String,
}

impl Properties {
    /// Reads a list. Of a property that comes twice the last counts.
    ///
    /// # Errors
    /// The first property that is unknown, of another type than it must be, or not what it must be; of some that is
    /// looked at when all are there, as in the original.
    pub(super) fn read(list: List) -> Result<Self, ErrorReply> {
        let mut properties = Self::default();
        let mut later = Later::default();
        for (name, value) in list {
            properties.take(&name, value.into(), &mut later)?;
        }
        properties.wish.class = class_of(&later.class)?;
        properties.wish.root = root_directory(later.root)?;
        Ok(properties)
    }

    fn take(&mut self, name: &str, value: Variant<'static>, later: &mut Later) -> Result<(), ErrorReply> {
        let Self { wish, leader } = self;
        match name {
            "Id" => wish.id = machine_id(&typed::<Vec<u8>>(value)?)?,
            "Service" => wish.service = typed(value)?,
            "Class" => later.class = typed(value)?,
            "LeaderPID" => leader.pid = typed(value)?,
            "LeaderPIDFD" => match value {
                Variant::Fd(Fd::Owned(fd)) => leader.pidfd = Some(fd),
                _ => return Err(other_type()),
            },
            "LeaderPIDFDID" => leader.pidfd_id = typed(value)?,
            "RootDirectory" => later.root = typed(value)?,
            "NetworkInterfaces" => wish.interfaces = indices(&typed::<Vec<i32>>(value)?)?,
            "VSockCID" => wish.vsock_cid = Some(regular_cid(typed(value)?)?),
            "SSHAddress" => wish.ssh_address = typed(value)?,
            "SSHPrivateKeyPath" => wish.ssh_private_key_path = typed(value)?,
            other => return Err(ErrorReply::invalid_args(format!("Unknown property '{other}'"))),
        }
        Ok(())
    }
}

/// As sd-bus says that a value has another type than was read.
fn other_type() -> ErrorReply {
    errors::bare(Errno::NXIO)
}

fn typed<T: TryFrom<Variant<'static>>>(value: Variant<'static>) -> Result<T, ErrorReply> {
    value.try_into().map_err(|_| other_type())
}

/// A context id that is a machine's: not the hypervisor's, not the host's, not "any".
fn regular_cid(cid: u32) -> Result<u32, ErrorReply> {
    if (3..u32::MAX).contains(&cid) {
        return Ok(cid);
    }
    // The original's words, wherever they come from.
    Err(ErrorReply::invalid_args("JSON field 'vSockCid' is not a regular VSOCK CID."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::Class;

    fn read(list: &[(&str, Variant<'static>)]) -> Result<Properties, ErrorReply> {
        let owned = |(name, value): &(&str, Variant<'static>)| {
            ((*name).to_owned(), value.try_clone().unwrap().try_into_owned().unwrap())
        };
        Properties::read(list.iter().map(owned).collect())
    }

    #[test]
    fn every_property_has_its_place() {
        let properties = read(&[
            ("Id", Variant::from(b"0123456789abcdef".to_vec())),
            ("Service", Variant::from("svc")),
            ("Class", Variant::from("vm")),
            ("Class", Variant::from("container")),
            ("LeaderPID", Variant::from(7_u32)),
            ("LeaderPIDFDID", Variant::from(8_u64)),
            ("RootDirectory", Variant::from("/x")),
            ("NetworkInterfaces", Variant::from(vec![1_i32, 2])),
            ("VSockCID", Variant::from(77_u32)),
            ("SSHAddress", Variant::from("vsock/77")),
            ("SSHPrivateKeyPath", Variant::from("/key")),
        ])
        .unwrap();
        let Properties { wish, leader } = properties;
        assert_eq!(wish.id.unwrap().bytes(), *b"0123456789abcdef");
        assert_eq!((wish.service.as_str(), wish.class), ("svc", Some(Class::Container)));
        assert_eq!((leader.pid, leader.pidfd_id), (7, 8));
        assert_eq!((wish.root.as_str(), wish.interfaces), ("/x", vec![1, 2]));
        assert_eq!((wish.vsock_cid, wish.ssh_address.as_str()), (Some(77), "vsock/77"));
        assert_eq!(wish.ssh_private_key_path, "/key");
    }

    #[test]
    fn what_is_not_what_it_must_be_is_refused() {
        for (name, value, error) in [
            ("Nope", Variant::from("x"), "Unknown property 'Nope'"),
            ("Class", Variant::from(1_u32), "No such device or address"),
            ("Class", Variant::from("host"), "Invalid machine class parameter"),
            ("Id", Variant::from(vec![1_u8]), "Invalid machine ID parameter"),
            ("RootDirectory", Variant::from("x"), "Root directory must be empty or an absolute path"),
            ("NetworkInterfaces", Variant::from(vec![0_i32]), "Invalid network interface index 0"),
            ("VSockCID", Variant::from(2_u32), "JSON field 'vSockCid' is not a regular VSOCK CID."),
            ("LeaderPIDFD", Variant::from(1_u32), "No such device or address"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().message, error);
        }
        let class = ("Class", Variant::from("nope"));
        let unknown = ("Nope", Variant::from("x"));
        assert_eq!(read(&[class, unknown]).unwrap_err().message, "Unknown property 'Nope'");
    }
}
