//! What the registrar says of a machine, and what of it is taken.

use dbus_server::ErrorReply;
use libmachine::checked_name;
use registry::{Class, MachineId, MachineName};

/// What all forms say, checked but for the leader.
#[derive(Debug, Default)]
pub(super) struct Particulars {
    pub(super) id: Option<MachineId>,
    pub(super) service: String,
    /// `None`: the caller does not say.
    pub(super) class: Option<Class>,
    pub(super) root: String,
    pub(super) interfaces: Vec<u32>,
    pub(super) vsock_cid: Option<u32>,
    pub(super) ssh_address: String,
    pub(super) ssh_private_key_path: String,
}

pub(super) fn machine_name(name: &str) -> Result<MachineName, ErrorReply> {
    checked_name(name).map_err(|refused| ErrorReply::invalid_args(format!("Invalid machine name: {refused}")))
}

/// 16 bytes, or none; zeros are none.
pub(super) fn machine_id(bytes: &[u8]) -> Result<Option<MachineId>, ErrorReply> {
    match bytes {
        [] => Ok(None),
        bytes => {
            let bytes: Result<[u8; 16], _> = bytes.try_into();
            bytes.map(MachineId::new).map_err(|_| ErrorReply::invalid_args("Invalid machine ID parameter"))
        }
    }
}

pub(super) fn indices(list: &[i32]) -> Result<Vec<u32>, ErrorReply> {
    // A record has room for a few thousand; a machine has a handful.
    if list.len() > 1024 {
        return Err(ErrorReply::invalid_args("Too many network interfaces"));
    }
    let index = |&index: &i32| match u32::try_from(index) {
        Ok(index) if index > 0 => Ok(index),
        _ => Err(ErrorReply::invalid_args(format!("Invalid network interface index {index}"))),
    };
    list.iter().map(index).collect()
}

/// A class, or none.
pub(super) fn class_of(class: &str) -> Result<Option<Class>, ErrorReply> {
    if class.is_empty() {
        return Ok(None);
    }
    let class = Class::from_name(class.as_bytes());
    class.map(Some).ok_or_else(|| ErrorReply::invalid_args("Invalid machine class parameter"))
}

pub(super) fn root_directory(root: String) -> Result<String, ErrorReply> {
    let is_path = root.starts_with('/') && root.len() < 4096 && root.split('/').all(|part| part.len() < 256);
    if root.is_empty() || is_path {
        return Ok(root);
    }
    Err(ErrorReply::invalid_args("Root directory must be empty or an absolute path"))
}
