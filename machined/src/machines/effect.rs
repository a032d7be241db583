//! What the table of machines wants done.

use std::net::IpAddr;

use registry::{Alias, IdKind, IdList, MachineName};

use super::key::Key;

/// What a change of the table demands to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Write the machine's record.
    Publish(Key),
    /// Remove the record of this name.
    Withdraw(MachineName),
    /// Point the link of this unit at the machine.
    LinkUnit(String, MachineName),
    /// Remove the link of this unit.
    UnlinkUnit(String),
    /// Point the link of this address at the machine, the only one that has it.
    IndexAddress(IpAddr, MachineName),
    /// Have the link of this address say that more than one machine has it.
    IndexSharedAddress(IpAddr),
    /// Remove the link of this address: no machine has it.
    UnindexAddress(IpAddr),
    /// Point the link of this control group at the machine.
    IndexGroup(String, MachineName),
    /// Remove the link of this control group: no machine has it, or more than one.
    UnindexGroup(String),
    /// Point the link of this leader at the machine, which has neither a unit nor a control group.
    IndexLeader(i32, MachineName),
    /// Remove the link of this leader.
    UnindexLeader(i32),
    /// Point the link of this leader, of which nobody else is known to belong to its machine, at that, or remove it, as the
    /// [table](Machines::leader_only) says.
    IndexLeaderOnly(i32),
    /// Write this list of the id index, or remove it, as the [table](Machines::id_list) says.
    IndexIds(IdKind, IdList),
    /// Point the link of this name in lower case at the machine, or remove it, as the [table](Machines::in_any_case) says.
    IndexName(MachineName),
    /// Point the link of this alias at the machine, or remove it, as the [table](Machines::alias) says.
    IndexAlias(Alias),
}
