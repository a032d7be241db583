//! From an id of the host to its name, and back.
//!
//! Both ways end in the same place: the record of the machine, which has the map and the leader; or what the id index says
//! in its place (see there). An answer is given
//! only if the machine is a container that lives and whose name is everybody's, the id is none of the host's own (below [`FIRST_MACHINE_ID`], or in a
//! range that begins at the host's 0, as in a machine without a user namespace), and both ids are valid.

use crate::files::{FileError, Files, RecordError, linked_machine, read_record};
use crate::id_index::{Claim, Claimants};
use crate::id_map::{FIRST_MACHINE_ID, IdRange, is_valid_id};
use crate::id_name::{Alias, IdName};
use crate::liveness::certainly_runs;
use crate::record_scan::{ClassState, Item, RecordSink};
use crate::{IdKind, MachineName, Processes, is_alive};

/// A user or group of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedId {
    /// The machine.
    pub machine: MachineName,
    /// The id inside it.
    pub inside: u32,
    /// The id on the host.
    pub outside: u32,
    /// The name on the host.
    pub name: IdName,
}

/// Why it is not known whose an id or a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookupError {
    /// Two machines have the id, so that it is neither's.
    Shared,
    /// A record that decides is damaged.
    Damaged,
    /// A file that decides could not be read, with the errno.
    Unreadable(i32),
}

/// The user or group that has an id on the host; `None` if nobody has.
///
/// # Errors
/// Why it is not known, or that two machines have it.
pub fn mapped_id_by_id<F: Files, P: Processes>(
    files: &F,
    processes: &P,
    kind: IdKind,
    id: u32,
) -> Result<Option<MappedId>, LookupError> {
    if id < FIRST_MACHINE_ID || !is_valid_id(id) {
        return Ok(None);
    }
    let mut claimants = Claimants::default();
    match claimants.find(files, kind, id) {
        Ok(()) => {}
        // An entry that is neither a link nor a file is none of the index.
        Err(FileError::Absent | FileError::OtherKind) => return Ok(None),
        Err(FileError::Errno(errno)) => return Err(LookupError::Unreadable(errno)),
    }
    let mut holder = None;
    for claim in claimants.claims() {
        let pair = match indexed(processes, claim, id) {
            Some(pair) => Some(pair),
            None => translate(files, processes, &claim.machine, kind, Id::Outside(id))?,
        };
        if let Some(pair) = pair {
            if holder.is_some() {
                return Err(LookupError::Shared);
            }
            holder = Some((&claim.machine, pair));
        }
    }
    let Some((machine, pair)) = holder else { return Ok(None) };
    let name = match IdName::new(kind, machine, pair.inside) {
        Some(name) => Some(name),
        None => {
            let alias = Alias::of(machine);
            let is_known = machine_of_alias(files, &alias)?.is_some_and(|other| other == *machine);
            is_known.then(|| IdName::of_alias(kind, &alias, pair.inside)).flatten()
        }
    };
    Ok(name.map(|name| pair.named(machine, name)))
}

/// The user or group that has a name on the host; `None` if none has. Ids that two machines share have a name in each.
///
/// # Errors
/// Why it is not known.
pub fn mapped_id_by_name<F: Files, P: Processes>(
    files: &F,
    processes: &P,
    kind: IdKind,
    name: &[u8],
) -> Result<Option<MappedId>, LookupError> {
    let Some((machine, inside)) = IdName::parse(kind, name) else { return Ok(None) };
    let own = IdName::new(kind, &machine, inside);
    let found = translate(files, processes, &machine, kind, Id::Inside(inside))?;
    if let (Some(name), Some(pair)) = (own, found) {
        return Ok(Some(pair.named(&machine, name)));
    }
    let Some(alias) = Alias::parse(machine.as_bytes()) else { return Ok(None) };
    let Some(machine) = machine_of_alias(files, &alias)? else { return Ok(None) };
    // The alias is the name only where the machine's own name makes none, so that each id has one name.
    if IdName::new(kind, &machine, inside).is_some() {
        return Ok(None);
    }
    let found = translate(files, processes, &machine, kind, Id::Inside(inside))?;
    Ok(found.and_then(|pair| Some(pair.named(&machine, IdName::of_alias(kind, &alias, inside)?))))
}

fn machine_of_alias<F: Files>(files: &F, alias: &Alias) -> Result<Option<MachineName>, LookupError> {
    let found = linked_machine(files, &alias.link()).map_err(LookupError::Unreadable)?;
    Ok(found.filter(|name| Alias::of(name) == *alias))
}

/// The id that is known.
#[derive(Clone, Copy)]
enum Id {
    Inside(u32),
    Outside(u32),
}

/// The same id, inside and outside.
#[derive(Clone, Copy)]
struct Pair {
    inside: u32,
    outside: u32,
}

impl Pair {
    /// Whether this id, of this range, can be a user's or group's of a machine.
    const fn counts(self, range: &IdRange) -> bool {
        range.outside != 0
            && self.outside >= FIRST_MACHINE_ID
            && is_valid_id(self.outside)
            && is_valid_id(self.inside)
    }

    const fn named(self, machine: &MachineName, name: IdName) -> MappedId {
        MappedId { machine: *machine, inside: self.inside, outside: self.outside, name }
    }
}

/// The first range of a record's map that has an id.
struct Search {
    kind: IdKind,
    id: Id,
    found: Option<(IdRange, Pair)>,
}

impl RecordSink for Search {
    fn take(&mut self, item: Item) {
        match item {
            Item::Map(kind) if kind == self.kind => self.found = None,
            Item::Range(kind, range) if kind == self.kind && self.found.is_none() => {
                let pair = match self.id {
                    Id::Inside(inside) => range.to_host(inside).map(|outside| Pair { inside, outside }),
                    Id::Outside(outside) => range.to_machine(outside).map(|inside| Pair { inside, outside }),
                };
                self.found = pair.map(|pair| (range, pair));
            }
            _ => {}
        }
    }
}

/// What the index says in the place of the record; `None` if the record has to be asked.
fn indexed<P: Processes>(processes: &P, claim: &Claim, id: u32) -> Option<Pair> {
    let pair = Pair { inside: claim.range.to_machine(id)?, outside: id };
    (pair.counts(&claim.range) && certainly_runs(&claim.leader, processes)).then_some(pair)
}

fn translate<F: Files, P: Processes>(
    files: &F,
    processes: &P,
    machine: &MachineName,
    kind: IdKind,
    id: Id,
) -> Result<Option<Pair>, LookupError> {
    let mut search = Search { kind, id, found: None };
    let head = match read_record(files, machine, &mut search) {
        Ok(head) => head,
        Err(RecordError::Absent) => return Ok(None),
        Err(RecordError::Damaged) => return Err(LookupError::Damaged),
        Err(RecordError::Unreadable(errno)) => return Err(LookupError::Unreadable(errno)),
    };
    // What a user registered has no users and groups on the host.
    let has_ids = head.class == ClassState::Container && head.private_to.is_none();
    let answer = search.found.filter(|(range, pair)| pair.counts(range) && has_ids);
    Ok(answer.filter(|_| is_alive(&head.leader, processes)).map(|(_, pair)| pair))
}

#[cfg(test)]
mod tests;
