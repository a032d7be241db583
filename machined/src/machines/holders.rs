//! Who has something that only one machine should have, but several may: an address, a control group.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::key::Key;

/// The machines that have something; most often it is one.
#[derive(Debug)]
enum Held {
    By(Key),
    /// By two at least.
    Shared(Vec<Key>),
}

/// Whose something is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// This machine's alone.
    Only(Key),
    /// Nobody's, or that of more than one.
    Nobodys,
}

/// The machines that have each of these.
#[derive(Debug)]
pub(super) struct Holders<T>(HashMap<T, Held>);

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq> Holders<T> {
    /// A machine has it, too. Returns whose it is now, if that is another one than before.
    pub(super) fn gain(&mut self, thing: T, key: Key) -> Option<Change> {
        match self.0.get_mut(&thing) {
            None => {
                self.0.insert(thing, Held::By(key));
                Some(Change::Only(key))
            }
            Some(held) => match held {
                Held::By(first) => {
                    *held = Held::Shared(vec![*first, key]);
                    Some(Change::Nobodys)
                }
                Held::Shared(keys) => {
                    keys.push(key);
                    None
                }
            },
        }
    }

    /// A machine has it no more. Returns whose it is now, if that is another one than before.
    pub(super) fn lose<Q: Hash + Eq + ?Sized>(&mut self, thing: &Q, key: Key) -> Option<Change>
    where
        T: Borrow<Q>,
    {
        let held = self.0.get_mut(thing)?;
        match held {
            Held::By(only) if *only == key => {
                self.0.remove(thing);
                Some(Change::Nobodys)
            }
            Held::By(_) => None,
            Held::Shared(keys) => {
                keys.retain(|other| *other != key);
                let &[only] = keys.as_slice() else { return None };
                *held = Held::By(only);
                Some(Change::Only(only))
            }
        }
    }

    /// The one machine that has it alone.
    pub(super) fn only<Q: Hash + Eq + ?Sized>(&self, thing: &Q) -> Option<Key>
    where
        T: Borrow<Q>,
    {
        self.0.get(thing).and_then(Held::only)
    }

    /// All machines that have it.
    pub(super) fn all<Q: Hash + Eq + ?Sized>(&self, thing: &Q) -> &[Key]
    where
        T: Borrow<Q>,
    {
        match self.0.get(thing) {
            None => &[],
            Some(Held::By(key)) => std::slice::from_ref(key),
            Some(Held::Shared(keys)) => keys,
        }
    }

    /// What one machine has alone, each with that.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&T, Key)> {
        self.0.iter().filter_map(|(thing, held)| Some((thing, held.only()?)))
    }
}

impl Held {
    fn only(&self) -> Option<Key> {
        match self {
            Self::By(key) => Some(*key),
            Self::Shared(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_have_is_nobodys_until_one_is_left() {
        let [one, two, three] = [1, 2, 3].map(Key::of_number);
        let mut holders = Holders::<String>::default();
        assert_eq!(holders.gain("x".into(), one), Some(Change::Only(one)));
        assert_eq!(holders.only("x"), Some(one));
        assert_eq!(holders.gain("x".into(), two), Some(Change::Nobodys));
        assert_eq!(holders.gain("x".into(), three), None);
        assert_eq!((holders.only("x"), holders.iter().count()), (None, 0));
        assert_eq!(holders.lose("x", one), None);
        assert_eq!(holders.lose("x", one), None, "it has it no more");
        assert_eq!(holders.lose("x", three), Some(Change::Only(two)));
        assert_eq!(holders.lose("x", one), None);
        assert_eq!(holders.iter().collect::<Vec<_>>(), [(&"x".into(), two)]);
        assert_eq!(holders.lose("x", two), Some(Change::Nobodys));
        assert_eq!(holders.lose("x", two), None);
        assert!(holders.0.is_empty());
    }
}
