//! `resolve`: what the NSS module says of a name. It goes the module's way, and not through glibc, which may not ask it.

use std::io;

use registry::calls::{RegistryFiles, SeenProcesses, sole_user};
use registry::{
    Address, AddressState, ClassState, ListedAddresses, MachineName, RecordError, asked_name, is_alive,
    machine_in_any_case, read_record,
};

use crate::cli;
use crate::failure::{Failure, NOT_FOUND};
use crate::machine::{record_path, registries};
use crate::names::checked;
use crate::table::{Table, Value};

/// A machine, and what its name resolves to.
#[derive(Debug)]
struct Resolved {
    machine: MachineName,
    addresses: Vec<Address>,
}

/// Why a name does not resolve.
#[derive(Debug)]
enum Unresolved {
    /// It leads to no machine of this registry: the next one is asked.
    Elsewhere(String),
    /// It leads here, and no further.
    Here(String),
}

/// Tells what names resolve to.
///
/// # Errors
/// The output cannot be written.
pub fn resolve(options: &cli::Resolve) -> Result<u8, Failure> {
    let (mut rows, mut code) = (Vec::new(), 0);
    for name in &options.names {
        match resolved(name) {
            Ok(found) => rows.extend(found.addresses.iter().map(|address| row(&found.machine, address))),
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

fn row(machine: &MachineName, address: &Address) -> Vec<Value> {
    vec![Value::Text(address.to_string()), Value::Text(machine.to_string())]
}

/// What the module answers with, or why it has no answer: by the system's registry, and then by the caller's own.
fn resolved(text: &str) -> Result<Resolved, String> {
    let name = asked_name(text.as_bytes()).or_else(|_| checked(text))?;
    let mut first = None;
    for registry in registries() {
        match find_in(registry, &name) {
            Ok(found) => return Ok(found),
            Err(Unresolved::Here(reason)) => return Err(reason),
            Err(Unresolved::Elsewhere(reason)) => {
                first.get_or_insert(reason);
            }
        }
    }
    Err(first.unwrap_or_default())
}

/// By exactly this name, or else by the only one that is the same in small letters.
fn find_in(registry: RegistryFiles, name: &MachineName) -> Result<Resolved, Unresolved> {
    let found = look_up(registry, name);
    if let Err(Unresolved::Elsewhere(_)) = &found
        && let Ok(Some(other)) = machine_in_any_case(&registry, name)
    {
        return look_up(registry, &other);
    }
    found
}

fn look_up(registry: RegistryFiles, name: &MachineName) -> Result<Resolved, Unresolved> {
    use Unresolved::{Elsewhere, Here};
    let mut addresses = ListedAddresses::default();
    let path = record_path(registry, name);
    let head = read_record(&registry, name, &mut addresses).map_err(|error| match error {
        RecordError::Absent => Elsewhere(format!("there is no machine '{name}'")),
        RecordError::Damaged => Here(format!("a damaged record: {}", path.display())),
        RecordError::Unreadable(errno) => {
            Here(format!("cannot read {}: {}", path.display(), io::Error::from_raw_os_error(errno)))
        }
    })?;
    if let Some(owner) = head.private_to.filter(|&owner| sole_user() != Some(owner)) {
        return Err(Elsewhere(format!(
            "machine '{name}' was registered by the user {owner}, and resolves for that user alone"
        )));
    }
    if !is_alive(&head.leader, &SeenProcesses) {
        return Err(Elsewhere(format!("machine '{name}' is listed, but its leader is gone")));
    }
    let reason = match head.addresses {
        AddressState::SharedWithHost => format!("machine '{name}' shares the host's network"),
        AddressState::Unknown if head.class == ClassState::Other => format!(
            "the addresses of the virtual machine '{name}' are not known: no interface of the host leads there"
        ),
        AddressState::Unknown => {
            format!("the addresses of machine '{name}' are not known: another daemon wrote its record")
        }
        AddressState::Listed if addresses.0.is_empty() => format!("machine '{name}' has no address now"),
        AddressState::Listed => return Ok(Resolved { machine: *name, addresses: addresses.0 }),
    };
    Err(Here(reason))
}
