//! Which ids of the host lead to which machine, and which alias stands for one: that part of the table, and what the index on
//! disk has to say of it.

use registry::{Alias, IdKind, IdList, MachineName};

use super::Machines;
use super::effect::Effect;
use super::ids::{self, Ids};
use super::key::Key;

impl Machines {
    pub(super) fn gain_ids(&mut self, key: Key) -> Vec<Effect> {
        let Some(record) = self.machines.get(&key) else { return Vec::new() };
        let users = self.uids.gain(ids::map(record, IdKind::User), key);
        let groups = self.gids.gain(ids::map(record, IdKind::Group), key);
        let alias = ids::needs_alias(record).then(|| Alias::of(&record.name));
        if let Some(alias) = alias {
            self.by_alias.entry(alias).or_default().push(key);
        }
        index_effects(users, groups, alias)
    }

    pub(super) fn lose_ids(&mut self, key: Key) -> Vec<Effect> {
        let Some(record) = self.machines.get(&key) else { return Vec::new() };
        let users = self.uids.lose(ids::map(record, IdKind::User), key);
        let groups = self.gids.lose(ids::map(record, IdKind::Group), key);
        let alias = ids::needs_alias(record).then(|| Alias::of(&record.name));
        if let Some(alias) = alias {
            let keys = self.by_alias.entry(alias).or_default();
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                self.by_alias.remove(&alias);
            }
        }
        index_effects(users, groups, alias)
    }

    /// A machine came or went whose name is the alias of another one.
    pub(super) fn named_as_alias(&self, name: &MachineName) -> Option<Effect> {
        let alias = Alias::parse(name.as_bytes())?;
        self.by_alias.contains_key(&alias).then_some(Effect::IndexAlias(alias))
    }

    /// The machine that an alias stands for: the only one that needs it, unless another has it for a name.
    pub fn alias(&self, alias: &Alias) -> Option<&MachineName> {
        let [only] = self.by_alias.get(alias)?.as_slice() else { return None };
        let is_name = self.named(alias.as_str()).is_some();
        self.machines.get(only).filter(|_| !is_name).map(|record| &record.name)
    }

    /// The aliases that may stand for a machine.
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.by_alias.keys()
    }

    /// The text of a list of the id index; `None` if there is none.
    pub fn id_list(&self, kind: IdKind, list: IdList) -> Option<String> {
        self.ids(kind).text(list, |key| self.get(key))
    }

    /// Who has an id of the host, and which id it is inside.
    pub fn holders(&self, kind: IdKind, id: u32) -> impl Iterator<Item = (Key, u32)> {
        self.ids(kind).holders(id)
    }

    /// The lists of the id index.
    pub fn id_lists(&self, kind: IdKind) -> impl Iterator<Item = IdList> {
        self.ids(kind).lists()
    }

    const fn ids(&self, kind: IdKind) -> &Ids {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }
}

fn index_effects(
    users: impl IntoIterator<Item = IdList>,
    groups: impl IntoIterator<Item = IdList>,
    alias: Option<Alias>,
) -> Vec<Effect> {
    // The alias first: by name a machine is found without the lists.
    let lists = |kind| move |list| Effect::IndexIds(kind, list);
    let users = users.into_iter().map(lists(IdKind::User));
    alias
        .map(Effect::IndexAlias)
        .into_iter()
        .chain(users)
        .chain(groups.into_iter().map(lists(IdKind::Group)))
        .collect()
}
