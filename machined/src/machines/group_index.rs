//! The index of control groups, and of the leaders whose groups lead to no machine.

use registry::MachineName;

use super::holders::Change;
use super::processes::{is_told_of_processes, own_unit};
use super::{Effect, Key, Machines, group_of};

impl Machines {
    /// A machine has this control group, too.
    pub(super) fn gain_group(&mut self, group: String, key: Key) -> Vec<Effect> {
        match self.by_group.gain(&group, key, group_of(&self.machines)) {
            Some(Change::Only(key)) => self.group_effect(group, key).into_iter().collect(),
            Some(Change::Nobodys) => {
                let sharing = self.by_group.having(&group, group_of(&self.machines));
                let leaders = sharing.filter_map(|key| self.leader_only_effect(key));
                let mut effects: Vec<_> = leaders.collect();
                effects.push(Effect::UnindexGroup(group));
                effects
            }
            // It is nobody's already.
            None => self.leader_only_effect(key).into_iter().collect(),
        }
    }

    /// A machine, which was taken out, has this control group no more.
    pub(super) fn lose_group(&mut self, group: &str, key: Key) -> Vec<Effect> {
        match self.by_group.lose(group, key, group_of(&self.machines)) {
            Some(Change::Only(key)) => {
                let leader = self.get(key).and_then(|record| record.leader);
                let leader = leader.map(|leader| Effect::IndexLeaderOnly(leader.pid));
                self.group_effect(group.to_owned(), key).into_iter().chain(leader).collect()
            }
            Some(Change::Nobodys) => vec![Effect::UnindexGroup(group.to_owned())],
            None => Vec::new(),
        }
    }

    fn group_effect(&self, group: String, key: Key) -> Option<Effect> {
        self.get(key).map(|record| Effect::IndexGroup(group, record.name))
    }

    /// What is to be done as a machine begins or ends to be known by its leader only; nothing if it is not.
    pub(super) fn leader_only_effect(&self, key: Key) -> Option<Effect> {
        let pid = self.get(key)?.leader?.pid;
        self.leader_only(pid).map(|_| Effect::IndexLeaderOnly(pid))
    }

    /// The machine led by this process, if the leader alone is known to be in it: its group is that of others, too, or it may
    /// not say that it has it.
    pub fn leader_only(&self, pid: i32) -> Option<MachineName> {
        let key = self.by_leader(pid)?;
        let record = self.get(key)?;
        let is_alone_in = |group: &String| self.by_group.only(group, group_of(&self.machines)) == Some(key);
        let leads_otherwise = is_told_of_processes(record)
            && (own_unit(record).is_some() || record.cgroup.as_ref().is_none_or(is_alone_in));
        (!leads_otherwise).then_some(record.name)
    }

    /// The leaders of all of them.
    pub fn leaders_only(&self) -> impl Iterator<Item = (i32, MachineName)> {
        self.by_leader.keys().filter_map(|&pid| Some((pid, self.leader_only(pid)?)))
    }
}
