//! `resolve`: what the NSS module says of a name. It goes the module's way, and not through glibc, which may not ask it.

use std::io;

use registry::{
    Address, AddressState, ClassState, KernelFiles, KernelProcesses, ListedAddresses, MachineName,
    RecordError, is_alive, read_record,
};

use crate::cli;
use crate::failure::{Failure, NOT_FOUND};
use crate::names::checked;
use crate::table::{Table, Value};

/// Tells what names resolve to.
///
/// # Errors
/// The output cannot be written.
pub fn resolve(options: &cli::Resolve) -> Result<u8, Failure> {
    let (mut rows, mut code) = (Vec::new(), 0);
    for name in &options.names {
        match checked(name).and_then(|name| addresses(&name)) {
            Ok(addresses) => rows.extend(addresses.iter().map(|address| row(name, address))),
            Err(reason) => {
                code = NOT_FOUND;
                if options.verbose {
                    eprintln!("mymachines: {reason}");
                }
            }
        }
    }
    let table = Table { titles: vec!["address", "machine"], rows };
    table.write(&mut io::stdout().lock(), options.output.format, !options.output.no_legend)?;
    Ok(code)
}

fn row(name: &str, address: &Address) -> Vec<Value> {
    vec![Value::Text(address.to_string()), Value::Text(name.to_owned())]
}

/// What the module answers with, or why it has no answer.
fn addresses(name: &MachineName) -> Result<Vec<Address>, String> {
    let mut addresses = ListedAddresses::default();
    let head = read_record(&KernelFiles, name, &mut addresses).map_err(|error| match error {
        RecordError::Absent => format!("there is no machine '{name}'"),
        RecordError::Damaged => format!("a damaged record: {}/{name}", registry::MACHINE_DIRECTORY),
        RecordError::Unreadable(errno) => {
            let cause = io::Error::from_raw_os_error(errno);
            format!("cannot read {}/{name}: {cause}", registry::MACHINE_DIRECTORY)
        }
    })?;
    let own = [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()];
    if let Some(owner) = head.private_to.filter(|&owner| own != [owner; 2]) {
        return Err(format!(
            "machine '{name}' was registered by the user {owner}, and resolves for that user alone"
        ));
    }
    if !is_alive(&head.leader, &KernelProcesses) {
        return Err(format!("machine '{name}' is listed, but its leader is gone"));
    }
    match head.addresses {
        AddressState::SharedWithHost => Err(format!("machine '{name}' shares the host's network")),
        AddressState::Unknown if head.class == ClassState::Other => Err(format!(
            "the addresses of the virtual machine '{name}' are not known: no interface of the host leads there"
        )),
        AddressState::Unknown => {
            Err(format!("the addresses of machine '{name}' are not known: another daemon wrote its record"))
        }
        AddressState::Listed if addresses.0.is_empty() => Err(format!("machine '{name}' has no address now")),
        AddressState::Listed => Ok(addresses.0),
    }
}
