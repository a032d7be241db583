//! `SetAddresses`.

use std::net::IpAddr;
use std::rc::Rc;

use ::registry::Address;
use serde_json::Value;

use super::super::machine::{caller, machine_name, text};
use crate::authorization::{Authorized, Manage};
use crate::error::Error;
use crate::operations::{Operations, Target};
use varlink_server::{Call, Done, ErrorReply, Replier};

/// How many addresses a machine may be given.
const MOST: usize = 64;

pub(super) async fn set_addresses(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let name = text(&call.parameters, "name").ok_or_else(|| ErrorReply::invalid_parameter("name"))?;
    let name = machine_name(name)?;
    let given = addresses(&call).ok_or_else(|| ErrorReply::invalid_parameter("addresses"))?;
    let key = operations.by_name(&name).ok_or(Error::NoSuchMachine)?;
    let details = [("name", name.as_str()), ("verb", "set-addresses")];
    let authorized: Authorized<Manage> =
        operations.may(&caller(&call), Some(Target::Machine(key)), &details).await?;
    operations.set_given_addresses(&authorized, key, given).map_err(refused)?;
    replier.reply(&())
}

/// Each once; `None` if one is no address of a machine's, or there are too many.
fn addresses(call: &Call) -> Option<Vec<Address>> {
    let list = call.parameters.get("addresses")?.as_array().filter(|list| list.len() <= MOST)?;
    let mut addresses = Vec::new();
    for text in list {
        let address = address(text)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// Of a link's, the host's interface has to be said, as of no other.
fn address(text: &Value) -> Option<Address> {
    let address = Address::parse(text.as_str()?.as_bytes())?;
    let (is_of_a_link, is_mapped) = match address.ip {
        IpAddr::V4(_) => (false, false),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.to_ipv4_mapped().is_some()),
    };
    (is_of_a_link == (address.scope_id != 0) && !is_mapped).then_some(address)
}

fn refused(error: Error) -> ErrorReply {
    let address = match &error {
        Error::AddressOfHost(address) | Error::AddressTaken(address) => Some(*address),
        _ => None,
    };
    let mut reply = ErrorReply::from(error);
    reply.parameters.extend(address.map(|address| ("address", Value::from(address.to_string()))));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_link_has_an_interface_and_no_other_has() {
        for (text, is_good) in [
            ("10.0.0.2", true),
            ("fd00::2", true),
            ("fe80::2%5", true),
            ("fe80::2", false),
            ("fd00::2%5", false),
            ("10.0.0.2%5", false),
            ("10.0.0.2/24", false),
            ("::ffff:a00:2", false),
            ("web", false),
            ("", false),
        ] {
            assert_eq!(address(&text.into()).is_some(), is_good, "{text:?}");
        }
        assert_eq!(address(&Value::from(7)), None);
    }
}
