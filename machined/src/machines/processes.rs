//! Which units, groups and leaders lead to a machine.

use registry::Record;

use crate::unit_part::PAYLOAD;

/// The leader of a machine that has neither a unit nor a control group.
pub(super) fn lone_leader(record: &Record) -> Option<i32> {
    let is_alone = record.unit.is_none() && record.cgroup.is_none() && is_told_of_processes(record);
    record.leader.filter(|_| is_alone).map(|leader| leader.pid)
}

/// The unit that a machine has for itself. A machine in a subgroup shares its unit with others, unless the rest of
/// the unit is there for the machine alone.
pub fn own_unit(record: &Record) -> Option<&str> {
    record.unit.as_deref().filter(|_| record.subgroup.as_deref().is_none_or(|subgroup| subgroup == PAYLOAD))
}

/// Whether the links of a machine's unit and control group lead to it, so that it is found by its processes. What is a user's
/// alone could else be said of others' processes: only units below that user's own slice count, and groups made for it.
pub(super) fn is_told_of_processes(record: &Record) -> bool {
    let Some(uid) = record.private_to() else { return true };
    let (Some(group), Some(unit)) = (&record.cgroup, &record.unit) else { return record.cgroup_id.is_some() };
    let slice = format!("user-{uid}.slice");
    let subgroup = record.subgroup.as_deref().unwrap_or_default();
    let of_unit = group.strip_suffix(subgroup).unwrap_or(group).trim_end_matches('/');
    // What is above the unit, the outermost one, is the service manager's own doing.
    of_unit.strip_suffix(unit.as_str()).is_some_and(|slices| slices.split('/').any(|part| part == slice))
}
