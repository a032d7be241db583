//! Which machine a name leads to but for the case of its letters: that part of the table, and what the index on disk has to
//! say of it.
//!
//! Few names have capitals. A name without any is what it is in lower case, so that only those with capitals are kept.

use registry::MachineName;

use super::effect::Effect;
use super::key::Key;
use super::{Machines, Records};

/// How the name of a machine is found.
fn name_of<'a>(machines: &'a Records) -> impl Fn(Key) -> Option<&'a str> {
    move |key| machines.get(&key).map(|record| record.name.as_str())
}

impl Machines {
    /// The machine that is called so.
    pub(super) fn named(&self, name: &str) -> Option<Key> {
        self.by_name.only(name, name_of(&self.machines))
    }

    /// The machine whose name is this one in lower case, if it is one alone. Names that are a user's alone count for nothing: nobody
    /// takes a name from others by its other spellings.
    pub fn in_any_case(&self, lower: &MachineName) -> Option<MachineName> {
        let others = self.by_lower_case.get(lower.as_str()).map(Vec::as_slice).unwrap_or_default();
        let alike = self.by_name(lower).into_iter().chain(others.iter().copied());
        let mut public = alike.filter_map(|key| self.get(key)).filter(|record| record.private_to().is_none());
        let only = public.next()?;
        public.next().is_none().then_some(only.name)
    }

    /// What the case index has to say: each name in lower case that one machine alone has, with that.
    pub fn in_lower_case(&self) -> impl Iterator<Item = (MachineName, MachineName)> {
        let names = self.iter().map(|(_, record)| record.name.in_lower_case());
        names.filter_map(|lower| Some((lower, self.in_any_case(&lower)?)))
    }

    /// Takes a key into the table of names.
    pub(super) fn gain_name(&mut self, name: &MachineName, key: Key) {
        self.by_name.gain(name.as_str(), key, name_of(&self.machines));
        let lower = name.in_lower_case();
        if lower != *name {
            self.by_lower_case.entry(lower.as_str().into()).or_default().push(key);
        }
    }

    /// Takes a key out of the table of names.
    pub(super) fn lose_name(&mut self, name: &MachineName, key: Key) {
        self.by_name.lose(name.as_str(), key, name_of(&self.machines));
        let lower = name.in_lower_case();
        if let Some(keys) = self.by_lower_case.get_mut(lower.as_str()) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_lower_case.remove(lower.as_str());
            }
        }
    }

    /// Adds to what has to be done for a machine that came or went, once it has, what its name demands. That comes first: no
    /// entry leads to one of two machines, wherever the daemon dies, and who hears of a record finds it by the entry.
    pub(super) fn index_name(
        &self,
        lower: MachineName,
        before: Option<MachineName>,
        effects: &mut Vec<Effect>,
    ) {
        let after = self.in_any_case(&lower);
        if before != after {
            effects.insert(0, Effect::IndexName(lower));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Class, Record};

    fn name(text: &str) -> MachineName {
        MachineName::new(text.as_bytes()).unwrap()
    }

    fn record(text: &str, uid: Option<u32>) -> Record {
        let mut record = Record::new(name(text), Class::Container);
        record.uid = uid;
        record
    }

    fn places(effects: &[Effect]) -> (Option<usize>, Option<usize>) {
        let place = |is: fn(&Effect) -> bool| effects.iter().position(is);
        let record = place(|effect| matches!(effect, Effect::Publish(_) | Effect::Withdraw(_)));
        (place(|effect| matches!(effect, Effect::IndexName(_))), record)
    }

    #[test]
    fn a_name_leads_in_any_case_to_the_machine_that_has_it_alone() {
        let mut machines = Machines::default();
        let big = machines.insert(record("BigTEST", None));
        assert!(big.1.contains(&Effect::IndexName(name("bigtest"))), "{:?}", big.1);
        assert_eq!(places(&big.1), (Some(0), Some(1)), "{:?}", big.1);
        assert_eq!(machines.in_any_case(&name("bigtest")), Some(name("BigTEST")));
        let (web, effects) = machines.insert(record("web", None));
        assert!(effects.contains(&Effect::IndexName(name("web"))));
        let mut index: Vec<_> = machines.in_lower_case().collect();
        index.sort();
        assert_eq!(index, [(name("bigtest"), name("BigTEST")), (name("web"), name("web"))]);

        // Two: the name is neither's, before the second is there.
        let small = machines.insert(record("bigtest", None));
        assert_eq!(machines.in_any_case(&name("bigtest")), None);
        assert_eq!(places(&small.1), (Some(0), Some(1)), "{:?}", small.1);
        let third = machines.insert(record("BIGTEST", None));
        assert_eq!(places(&third.1).0, None, "there is nothing to be done: {:?}", third.1);
        assert_eq!(machines.in_lower_case().count(), 1);

        // And the last one's again, after the others have gone.
        assert_eq!(places(&machines.remove(big.0).unwrap().1).0, None);
        assert_eq!(places(&machines.remove(third.0).unwrap().1), (Some(0), Some(1)));
        assert_eq!(machines.in_any_case(&name("bigtest")), Some(name("bigtest")));
        machines.remove(small.0);
        machines.remove(web);
        assert_eq!(machines.in_lower_case().count() + machines.by_lower_case.len(), 0);
    }

    #[test]
    fn a_users_own_name_takes_none_from_others_by_its_other_spellings() {
        let mut machines = Machines::default();
        machines.insert(record("BigTEST", None));
        let (mine, effects) = machines.insert(record("BIGtest", Some(1000)));
        assert_eq!(places(&effects).0, None);
        assert_eq!(machines.in_any_case(&name("bigtest")), Some(name("BigTEST")));
        assert_eq!(machines.in_lower_case().count(), 2, "of each its own, and so the same twice");
        assert_eq!(places(&machines.remove(mine).unwrap().1).0, None);
        // Nor is it found itself.
        machines.insert(record("Mine", Some(1000)));
        assert_eq!(machines.in_any_case(&name("mine")), None);
    }
}
