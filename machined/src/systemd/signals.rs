//! What process 1 says unasked: that jobs have ended, that units are gone, that it was reloaded or replaced.

use std::cell::{Cell, RefCell};

use tracing::debug;
use zbus::message::Header;
use zbus::{Connection, Message};

use super::{DEADLINE, Jobs, MANAGER, News, PATH, SERVICE};
use crate::bus::{BUS, CallError, call};

/// What the bus is asked to pass on.
const RULES: [&str; 4] = [
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',\
     arg0='org.freedesktop.systemd1'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='Reloading'",
];

/// The service manager, as it is heard of.
#[derive(Debug, Default)]
pub struct Systemd {
    /// Who waits for jobs.
    pub jobs: Jobs,
    /// Whose signals count: anybody may send some that look like them.
    owner: RefCell<Option<String>>,
    /// Whether the bus has told it unasked, since it was joined.
    is_told: Cell<bool>,
    /// Whether it is spoken to without a bus, so that whatever comes is its own.
    is_alone: Cell<bool>,
}

impl Systemd {
    /// Listens, after the bus was joined. Whoever waits for a job asks what was missed.
    ///
    /// # Errors
    /// The bus does not answer.
    pub async fn listen(&self, connection: &Connection) -> Result<(), CallError> {
        self.is_now(None);
        self.is_told.set(false);
        // One after the other on the way, and waited for together.
        let ask = |method, argument: &'static str| {
            tokio::task::spawn_local(call(connection.clone(), BUS, method, argument, DEADLINE, ()))
        };
        let rules = RULES.map(|rule| ask("AddMatch", rule));
        let owner = ask("GetNameOwner", SERVICE);
        for rule in rules {
            rule.await.map_err(|_| CallError::NoBus)??;
        }
        match owner.await.map_err(|_| CallError::NoBus)? {
            Ok(answer) => self.is_answered(Some(answer.body().deserialize::<String>()?)),
            // Not there yet.
            Err(CallError::Refused { .. }) => self.is_answered(None),
            Err(error) => return Err(error),
        }
        self.subscribe(connection);
        self.jobs.doubt();
        Ok(())
    }

    /// Listens, over a connection to the service manager itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn listen_directly(&self, connection: &Connection) -> Result<(), CallError> {
        self.is_alone.set(true);
        call(connection.clone(), MANAGER, "Subscribe", (), DEADLINE, ()).await?;
        self.jobs.doubt();
        Ok(())
    }

    /// The bus was asked. A signal that was heard meanwhile, by another task, may have come after the answer, and is never
    /// older.
    fn is_answered(&self, owner: Option<String>) {
        if !self.is_told.get() {
            self.is_now(owner);
        }
    }

    fn is_now(&self, owner: Option<String>) {
        *self.owner.borrow_mut() = owner;
    }

    /// Without a subscriber process 1 tells nobody but those whose job it is.
    pub fn subscribe(&self, connection: &Connection) {
        let connection = connection.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = call(connection, MANAGER, "Subscribe", (), DEADLINE, ()).await {
                debug!("Cannot subscribe to systemd: {error}");
            }
        });
    }

    /// Takes in a signal. Never waits. Returns whether process 1 is another one on the bus now, which is to be
    /// [subscribed](Self::subscribe) to.
    pub fn hear(&self, message: &Message) -> bool {
        let header = message.header();
        if self.is_alone.get() {
            if is_of(&header, PATH, MANAGER.interface)
                && let Some(member) = header.member()
            {
                self.take_in(member.as_str(), message);
            }
            return false;
        }
        if is_from(&header, BUS.service, &BUS.path, BUS.interface) {
            return self.hear_bus(&header, message);
        }
        let is_systemd = match &*self.owner.borrow() {
            Some(owner) => is_from(&header, owner, PATH, MANAGER.interface),
            None => false,
        };
        if is_systemd && let Some(member) = header.member() {
            self.take_in(member.as_str(), message);
        }
        false
    }

    fn hear_bus(&self, header: &Header<'_>, message: &Message) -> bool {
        if header.member().is_none_or(|member| member != "NameOwnerChanged") {
            return false;
        }
        let body = message.body();
        let Ok((SERVICE, _, new)) = body.deserialize::<(&str, &str, &str)>() else { return false };
        self.is_told.set(true);
        self.is_now((!new.is_empty()).then(|| new.to_owned()));
        self.jobs.doubt();
        !new.is_empty()
    }

    fn take_in(&self, member: &str, message: &Message) {
        match member {
            "JobRemoved" => {
                let told = message.body();
                if let Ok((_, job, unit, result)) =
                    told.deserialize::<(u32, zbus::ObjectPath<'_>, &str, &str)>()
                {
                    let news = News::JobRemoved { job: job.to_string(), result: result.to_owned() };
                    self.jobs.tell(unit, &news);
                }
            }
            "UnitRemoved" => {
                if let Ok((unit, _)) = message.body().deserialize::<(&str, zbus::ObjectPath<'_>)>() {
                    self.jobs.tell(unit, &News::Doubt);
                }
            }
            // At its end; what was to be heard during a reload may have been lost.
            "Reloading" => {
                if let Ok(false) = message.body().deserialize::<bool>() {
                    self.jobs.doubt();
                }
            }
            _ => {}
        }
    }
}

fn is_from(header: &Header<'_>, sender: &str, path: &str, interface: &str) -> bool {
    header.sender().is_some_and(|name| name.as_str() == sender) && is_of(header, path, interface)
}

fn is_of(header: &Header<'_>, path: &str, interface: &str) -> bool {
    header.path().is_some_and(|object| object.as_str() == path)
        && header.interface().is_some_and(|name| name.as_str() == interface)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::ObjectPath;

    const JOB: &str = "/org/freedesktop/systemd1/job/1";

    fn job_removed(sender: &str) -> Message {
        let job = ObjectPath::try_from(JOB).unwrap();
        let signal = Message::signal(PATH, MANAGER.interface, "JobRemoved").sender(sender);
        signal.build(&(1_u32, job, "a.scope", "done")).unwrap()
    }

    fn owner_changed(sender: &str, new: &str) -> Message {
        let signal = Message::signal(&*BUS.path, BUS.interface, "NameOwnerChanged").sender(sender);
        signal.build(&(SERVICE, ":1.2", new)).unwrap()
    }

    /// What somebody who waits for the job hears first.
    fn heard(messages: &[Message]) -> Option<Option<String>> {
        let systemd = Systemd::default();
        systemd.is_now(Some(":1.2".to_owned()));
        let mut expected = systemd.jobs.expect("a.scope");
        for message in messages {
            systemd.hear(message);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                result = expected.result(JOB) => Some(result),
                () = tokio::task::yield_now() => None,
            }
        })
    }

    #[test]
    fn the_end_of_a_job_is_heard_from_process_1_alone() {
        assert_eq!(heard(&[job_removed(":1.2")]), Some(Some("done".to_owned())));
        assert_eq!(heard(&[job_removed(":1.66")]), None);
        assert_eq!(heard(&[owner_changed(":1.66", ":1.66"), job_removed(":1.66")]), None);
    }

    #[test]
    fn an_answer_that_is_taken_in_after_the_news_does_not_undo_it() {
        for late in [None, Some(":1.1".to_owned())] {
            let systemd = Systemd::default();
            systemd.hear(&owner_changed(BUS.service, ":1.2"));
            systemd.is_answered(late);
            assert_eq!(systemd.owner.borrow().as_deref(), Some(":1.2"));
        }
        let systemd = Systemd::default();
        systemd.is_answered(Some(":1.2".to_owned()));
        assert_eq!(systemd.owner.borrow().as_deref(), Some(":1.2"));
    }

    #[test]
    fn when_process_1_is_replaced_its_successor_is_asked_and_believed() {
        let replaced = [owner_changed(BUS.service, ":1.3")];
        assert_eq!(heard(&replaced), Some(None));
        let systemd = Systemd::default();
        assert!(systemd.hear(&replaced[0]), "to be subscribed to");
        let mut expected = systemd.jobs.expect("a.scope");
        systemd.hear(&job_removed(":1.3"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(expected.result(JOB)), Some("done".to_owned()));
    }
}
