//! What a machine is, as a list of properties: the forms that newer systemd has.
//!
//! Anybody may send such a list. It is read up to the first property that is none, and a value that is of no property's
//! type is not read at all.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use dbus_server::ErrorReply;
use rustix::io::Errno;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use zbus::{Fd, Signature, Type, Variant};

use super::particulars::{Particulars, class_of, indices, machine_id, root_directory};
use crate::dbus::errors;
use crate::dbus::leader::NamedLeader;

/// A machine as its registrar describes it.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub particulars: Particulars,
    pub leader: NamedLeader,
}

/// A list of properties as it comes, `a(sv)`. Of a property that comes twice the last counts.
///
/// What is wrong is told of the first property that is unknown, of another type than it must be, or not what it must be;
/// of some that is looked at when all are there, as in the original. Then what follows the list cannot be read.
#[derive(Debug)]
pub(super) struct Description(pub Result<Properties, ErrorReply>);

impl Type for Description {
    const SIGNATURE: &'static Signature = <Vec<(&str, Variant<'_>)> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Description;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of properties")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Description, A::Error> {
                let mut properties = Properties::default();
                let mut later = Later::default();
                while let Some((name, value)) = list.next_element::<(&str, Value<'_>)>()? {
                    if let Err(error) = properties.take(name, value, &mut later) {
                        return Ok(Description(Err(error)));
                    }
                }
                Ok(Description(properties.complete(later)))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// What is looked at when all properties are there.
#[derive(Default)]
struct Later {
    class: String,
    root: String,
}

impl Properties {
    fn take(&mut self, name: &str, value: Value<'_>, later: &mut Later) -> Result<(), ErrorReply> {
        let Self { particulars, leader } = self;
        match name {
            "Id" => particulars.id = machine_id(value.bytes()?)?,
            "Service" => particulars.service = value.text()?,
            "Class" => later.class = value.text()?,
            "LeaderPID" => leader.pid = value.u32()?,
            "LeaderPIDFD" => leader.pidfd = Some(value.descriptor()?),
            "LeaderPIDFDID" => leader.pidfd_id = value.u64()?,
            "RootDirectory" => later.root = value.text()?,
            "NetworkInterfaces" => particulars.interfaces = indices(&value.numbers()?)?,
            "VSockCID" => particulars.vsock_cid = Some(regular_cid(value.u32()?)?),
            "SSHAddress" => particulars.ssh_address = value.text()?,
            "SSHPrivateKeyPath" => particulars.ssh_private_key_path = value.text()?,
            other => return Err(ErrorReply::invalid_args(format!("Unknown property '{other}'"))),
        }
        Ok(())
    }

    fn complete(mut self, later: Later) -> Result<Self, ErrorReply> {
        self.particulars.class = class_of(&later.class)?;
        self.particulars.root = root_directory(later.root)?;
        Ok(self)
    }
}

/// As sd-bus says that a value has another type than was read.
fn other_type() -> ErrorReply {
    errors::bare(Errno::NXIO)
}

/// What is in a variant, if it is of a type that some property has.
#[derive(Debug)]
enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Numbers(Vec<i32>),
    U32(u32),
    U64(u64),
    Descriptor(OwnedFd),
    /// Of another type, and not read.
    Other,
}

impl<'a> Value<'a> {
    fn text(self) -> Result<String, ErrorReply> {
        if let Self::Text(text) = self { Ok(text.to_owned()) } else { Err(other_type()) }
    }

    fn bytes(self) -> Result<&'a [u8], ErrorReply> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(other_type()) }
    }

    fn numbers(self) -> Result<Vec<i32>, ErrorReply> {
        if let Self::Numbers(list) = self { Ok(list) } else { Err(other_type()) }
    }

    fn u32(self) -> Result<u32, ErrorReply> {
        if let Self::U32(number) = self { Ok(number) } else { Err(other_type()) }
    }

    fn u64(self) -> Result<u64, ErrorReply> {
        if let Self::U64(number) = self { Ok(number) } else { Err(other_type()) }
    }

    fn descriptor(self) -> Result<OwnedFd, ErrorReply> {
        if let Self::Descriptor(descriptor) = self { Ok(descriptor) } else { Err(other_type()) }
    }
}

impl Type for Value<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variant")
            }

            /// A signature, and then the value.
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Value<'de>, A::Error> {
                let signature: Signature = next(&mut parts)?;
                Ok(match signature.to_string().as_str() {
                    "s" => Value::Text(next(&mut parts)?),
                    "ay" => Value::Bytes(next(&mut parts)?),
                    "ai" => Value::Numbers(next(&mut parts)?),
                    "u" => Value::U32(next(&mut parts)?),
                    "t" => Value::U64(next(&mut parts)?),
                    "h" => {
                        let borrowed: Fd<'_> = next(&mut parts)?;
                        Value::Descriptor(borrowed.as_fd().try_clone_to_owned().map_err(A::Error::custom)?)
                    }
                    _ => Value::Other,
                })
            }
        }

        fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(parts: &mut A) -> Result<T, A::Error> {
            parts.next_element()?.ok_or_else(|| A::Error::custom("a variant without a value"))
        }

        deserializer.deserialize_seq(Parts)
    }
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
        let message = zbus::Message::signal("/", "a.b", "C").build(&(list,)).unwrap();
        let Description(read) = message.body().deserialize().unwrap();
        read
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
        let Properties { particulars, leader } = properties;
        assert_eq!(particulars.id.unwrap().bytes(), *b"0123456789abcdef");
        assert_eq!((particulars.service.as_str(), particulars.class), ("svc", Some(Class::Container)));
        assert_eq!((leader.pid, leader.pidfd_id), (7, 8));
        assert_eq!((particulars.root.as_str(), particulars.interfaces), ("/x", vec![1, 2]));
        assert_eq!((particulars.vsock_cid, particulars.ssh_address.as_str()), (Some(77), "vsock/77"));
        assert_eq!(particulars.ssh_private_key_path, "/key");
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
