//! The machines of one namespace: one most often, for which a set of its own would be half a dozen times as large.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) enum Members<K> {
    Nobody,
    One(K),
    Many(BTreeSet<K>),
}

impl<K: Copy + Ord> Members<K> {
    pub(super) fn insert(&mut self, machine: K) {
        match self {
            Self::Nobody => *self = Self::One(machine),
            Self::One(only) => *self = Self::Many([*only, machine].into()),
            Self::Many(machines) => {
                machines.insert(machine);
            }
        }
    }

    pub(super) fn remove(&mut self, machine: K) {
        match self {
            Self::One(only) if *only == machine => *self = Self::Nobody,
            Self::Many(machines) => {
                machines.remove(&machine);
            }
            Self::Nobody | Self::One(_) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = K> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(only) => (Some(*only), None),
            Self::Many(machines) => (None, Some(machines)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_come_and_go_in_any_number() {
        let mut members = Members::Nobody;
        let mut expected = BTreeSet::new();
        for (comes, machine) in
            [(true, 1), (true, 1), (false, 2), (true, 2), (true, 3), (false, 1), (false, 3)]
        {
            if comes {
                members.insert(machine);
                expected.insert(machine);
            } else {
                members.remove(machine);
                expected.remove(&machine);
            }
            assert!(members.iter().eq(expected.iter().copied()), "{members:?} {expected:?}");
        }
        members.remove(2);
        assert!(members.is_empty());
        members.insert(4);
        members.remove(5);
        assert!(members.iter().eq([4]));
        members.remove(4);
        assert!(members.is_empty());
    }
}
