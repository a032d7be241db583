use super::*;
use crate::machines::Machines;
use registry::{Address, Addresses, Resolution};

#[derive(Default)]
struct Host {
    machines: RefCell<Machines>,
    subscription: Subscription,
    /// What a client makes of what it is told.
    client: RefCell<BTreeMap<MachineName, Addresses>>,
    is_ready: bool,
}

impl Table for RefCell<Machines> {
    fn after(&self, key: Option<Key>) -> Option<Key> {
        self.borrow().after(key).map(|(key, _)| key)
    }

    fn about<T>(&self, key: Key, question: impl FnOnce(&Record) -> T) -> Option<T> {
        self.borrow().get(key).map(question)
    }

    fn is_there(&self, key: Key) -> bool {
        self.borrow().get(key).is_some()
    }
}

fn name(text: &str) -> MachineName {
    MachineName::new(text.as_bytes()).unwrap()
}

impl Host {
    fn of(filter: Filter) -> Self {
        Self { subscription: Subscription::new(filter), ..Self::default() }
    }

    fn insert(&self, text: &str, class: Class) -> Key {
        let (key, _) = self.machines.borrow_mut().insert(Record::new(name(text), class));
        self.subscription.hear(Change::TakenIn(key));
        key
    }

    fn remove(&self, key: Key) {
        let (record, _) = self.machines.borrow_mut().remove(key).unwrap();
        let Record { name, class, .. } = record;
        self.subscription.hear(Change::Forgotten { key, name, class });
    }

    fn alter(&self, key: Key, address: &str) {
        let listed = Addresses::Listed(vec![Address { ip: address.parse().unwrap(), scope_id: 0 }]);
        let effects = self
            .machines
            .borrow_mut()
            .set_addresses(key, Resolution { addresses: listed, ..Resolution::default() });
        assert!(!effects.is_empty());
        self.subscription.hear(Change::Altered(key));
    }

    /// Tells one batch, as a client takes it in, and checks that it contradicts nothing.
    fn tell(&mut self) -> Batch {
        let batch = self.subscription.next(&self.machines);
        let mut client = self.client.borrow_mut();
        for name in &batch.removed {
            assert!(client.remove(name).is_some(), "{name} was removed, and never told");
        }
        for (is_new, keys) in [(false, &batch.changed), (true, &batch.new)] {
            for &key in keys {
                let machines = self.machines.borrow();
                let record = machines.get(key).unwrap();
                let before = client.insert(record.name, record.addresses.clone());
                assert_eq!(before.is_none(), is_new, "{}", record.name);
            }
        }
        self.is_ready |= batch.is_last;
        batch
    }

    fn tell_all(&mut self) {
        while !self.tell().is_last {}
    }

    fn assert_in_line(&self) {
        let table: BTreeMap<_, _> = self
            .machines
            .borrow()
            .iter()
            .map(|(_, record)| (record.name, record.addresses.clone()))
            .collect();
        assert_eq!(*self.client.borrow(), table);
    }
}

#[test]
fn what_is_there_is_told_in_batches_and_then_what_changes() {
    let mut host = Host::default();
    let keys: Vec<_> = (0..200).map(|number| host.insert(&format!("m{number}"), Class::Container)).collect();
    for told in [64, 128, 192] {
        assert!(!host.tell().is_last);
        assert_eq!(host.client.borrow().len(), told);
    }
    assert!(host.tell().is_last);
    host.assert_in_line();
    assert!(host.tell().len() == 0);
    host.alter(keys[7], "10.0.0.7");
    host.remove(keys[9]);
    let new = host.insert("late", Class::Vm);
    let batch = host.tell();
    assert_eq!((batch.removed, batch.changed, batch.new), (vec![name("m9")], vec![keys[7]], vec![new]));
    host.assert_in_line();
}

#[test]
fn nobody_is_told_before_there_is_a_machine_but_that_there_is_none() {
    assert_eq!(Host::default().tell(), Batch { is_last: true, ..Batch::default() });
}

#[test]
fn what_comes_and_goes_meanwhile_is_not_told() {
    let mut host = Host::default();
    host.tell_all();
    for _ in 0..1000 {
        let key = host.insert("brief", Class::Container);
        host.alter(key, "10.0.0.1");
        host.remove(key);
    }
    assert!(host.tell().len() == 0);
}

#[test]
fn who_sleeps_costs_no_more_than_there_were_machines_and_is_told_the_last_state() {
    let mut host = Host::default();
    let mut keys: Vec<_> =
        (0..100).map(|number| host.insert(&format!("m{number}"), Class::Container)).collect();
    host.tell_all();
    for round in 0..50 {
        for (number, key) in keys.iter_mut().enumerate() {
            host.alter(*key, &format!("10.0.{round}.{number}"));
            if number % 3 == 0 {
                host.remove(*key);
                *key = host.insert(&format!("m{number}"), Class::Container);
            }
        }
        let state = host.subscription.state.borrow();
        assert!(state.changed.len() + state.removed.len() <= 100);
    }
    host.tell_all();
    host.assert_in_line();
}

#[test]
fn changes_do_not_keep_new_machines_waiting() {
    let mut host = Host::default();
    let keys: Vec<_> = (0..500).map(|number| host.insert(&format!("m{number}"), Class::Container)).collect();
    let mut batches = 0;
    while !host.is_ready {
        for (number, &key) in keys.iter().enumerate() {
            host.alter(key, &format!("10.{batches}.{}.{}", number / 250, number % 250));
        }
        host.tell();
        if host.client.borrow().len() == 500 {
            break;
        }
        batches += 1;
        assert!(batches < 20);
    }
    host.tell_all();
    host.assert_in_line();
}

#[test]
fn only_what_is_wanted_is_told() {
    let names = [name("one"), name("absent")].into();
    let mut host = Host::of(Filter { names: Some(names), class: None });
    let (one, two) = (host.insert("one", Class::Container), host.insert("two", Class::Container));
    host.tell_all();
    assert_eq!(host.client.borrow().keys().copied().collect::<Vec<_>>(), [name("one")]);
    host.alter(two, "10.0.0.2");
    host.remove(two);
    assert!(host.tell().len() == 0);
    host.remove(one);
    assert_eq!(host.tell().removed, [name("one")]);

    let mut host = Host::of(Filter { names: None, class: Some(Class::Vm) });
    let (vm, container) = (host.insert("vm", Class::Vm), host.insert("box", Class::Container));
    host.remove(container);
    host.tell_all();
    let container = host.insert("box", Class::Container);
    host.tell_all();
    host.remove(container);
    assert!(host.tell().len() == 0);
    host.remove(vm);
    assert_eq!(host.tell().removed, [name("vm")]);
}

#[test]
fn many_that_are_not_wanted_are_passed_over_in_pieces() {
    let host = Host::of(Filter { names: Some([name("last")].into()), class: None });
    for number in 0..1000 {
        host.insert(&format!("m{number}"), Class::Container);
    }
    let last = host.insert("last", Class::Container);
    let batches: Vec<_> = (0..4).map(|_| host.subscription.next(&host.machines)).collect();
    assert!(batches[..3].iter().all(|batch| batch.len() == 0 && !batch.is_last));
    assert_eq!((batches[3].new.as_slice(), batches[3].is_last), (&[last][..], true));
}
