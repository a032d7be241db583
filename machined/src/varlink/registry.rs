//! `io.mymachines.Registry`: what machines there are, as a stream, and what is given of virtual machines. The original has nothing like it.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ::registry::{Class, MachineName, Record};
use serde::Serialize;
use serde_json::Value;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use self::machine::MachineReply;
use super::machine::text;
use crate::announcements::Listener;
use crate::daemon::Change;
use crate::machines::Key;
use crate::operations::Operations;
use crate::subscription::{Batch, Filter, Subscription, Table};
use varlink_server::{Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier};

mod given;
mod machine;

/// How long what changes is gathered, from the last reply on.
const GATHER: Duration = Duration::from_millis(20);

/// How many names a client may ask for.
const NAMES_MAX: usize = 1024;

/// The interface.
pub fn interface() -> Interface<Operations> {
    Interface {
        description: include_str!("idl/io.mymachines.Registry.varlink"),
        methods: const {
            &[
                Method {
                    name: "Subscribe",
                    more: More::Required,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(subscribe(operations, call, replier)),
                },
                Method {
                    name: "SetAddresses",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(given::set_addresses(operations, call, replier))
                    },
                },
            ]
        },
    }
}

#[derive(Debug, Serialize)]
struct Reply<'a> {
    instance: &'a str,
    sequence: u64,
    ready: bool,
    changes: Vec<ChangeReply>,
}

#[derive(Debug, Serialize)]
struct ChangeReply {
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<MachineReply>,
}

async fn subscribe(operations: Rc<Operations>, call: Call, mut replier: Replier) -> Result<Done, ErrorReply> {
    let subscription = Rc::new(Subscription::new(filter(&call)?));
    let hearing = subscription.clone();
    // It hears for as long as this call is served.
    let listener: Rc<Listener<Change>> = Rc::new(move |change| hearing.hear(change));
    operations.changes().subscribe(&listener);
    let (mut is_ready, mut sequence) = (false, 0_u64);
    loop {
        let batch = subscription.next(&*operations);
        let changes = changes(&operations, &subscription, &batch);
        let becomes_ready = batch.is_last && !is_ready;
        if becomes_ready || !changes.is_empty() {
            is_ready |= batch.is_last;
            sequence = sequence.saturating_add(1);
            let instance = operations.run_id();
            replier.send(&Reply { instance, sequence, ready: is_ready, changes }).await?;
        }
        if batch.is_last {
            let gathered = Instant::now() + GATHER;
            subscription.woken().await;
            sleep_until(gathered).await;
        } else {
            // Thousands that are not wanted may have been passed over.
            yield_now().await;
        }
    }
}

fn filter(call: &Call) -> Result<Filter, ErrorReply> {
    let names = match call.parameters.get("names") {
        None => None,
        Some(names) => {
            let names = names.as_array().filter(|names| names.len() <= NAMES_MAX);
            let name = |name: &Value| MachineName::new(name.as_str()?.as_bytes()).ok();
            let names: Option<BTreeSet<_>> = names.and_then(|names| names.iter().map(name).collect());
            Some(names.ok_or_else(|| ErrorReply::invalid_parameter("names"))?)
        }
    };
    let class = text(&call.parameters, "class").map(|class| {
        Class::from_name(class.as_bytes()).ok_or_else(|| ErrorReply::invalid_parameter("class"))
    });
    Ok(Filter { names, class: class.transpose()? })
}

fn changes(operations: &Operations, subscription: &Subscription, batch: &Batch) -> Vec<ChangeReply> {
    let removed = batch.removed.iter().map(|name| ChangeReply {
        kind: "removed",
        name: name.to_string(),
        machine: None,
    });
    let mut changes: Vec<_> = removed.collect();
    let told = |kind, key| {
        let machine = operations.machines(|machines| {
            machines.get(key).map(|record| MachineReply::new(operations, key, record))
        })?;
        Some(ChangeReply { kind, name: machine.name.clone(), machine: Some(machine) })
    };
    // That one has ended this moment is heard of, and told next.
    let alive = batch.changed.iter().filter(|&&key| operations.is_there(key));
    changes.extend(alive.filter_map(|&key| told("changed", key)));
    for &key in &batch.new {
        match told("new", key) {
            Some(change) => changes.push(change),
            None => subscription.was_not_told(key),
        }
    }
    changes
}

impl Table for Operations {
    fn after(&self, key: Option<Key>) -> Option<Key> {
        self.machines(|machines| machines.after(key).map(|(key, _)| key))
    }

    fn about<T>(&self, key: Key, question: impl FnOnce(&Record) -> T) -> Option<T> {
        self.machines(|machines| machines.get(key).map(question))
    }

    fn is_there(&self, key: Key) -> bool {
        self.is_there(key)
    }
}
