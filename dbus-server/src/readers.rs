//! Whether those who are sent much read it.
//!
//! A bus keeps what a client does not read, and counts it as the sender's, until it takes nothing from the sender any
//! more: two clients that call and never read could silence a daemon for everybody. So whoever was sent more than a
//! little is asked after, and gets nothing more until that is read. A bus that does not tell is believed to be one
//! that needs no such care.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;
use zbus::{Connection, OwnedVariant, Variant};

use crate::inquiry::describe;

/// So many bytes may be on their way to a client without a doubt. A user has 256 connections at most, by the rules of
/// dbus-daemon, and a sender 127 MiB.
const LITTLE: usize = 128 << 10;
/// How many clients are remembered that were sent less.
const REMEMBERED: usize = 4096;
/// How long to wait before a client is asked after again, at first and at most: a bus answers how much a client has left
/// unread, and tells nobody when that changes.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const STATS: &str = "org.freedesktop.DBus.Debug.Stats";

/// How much is on its way to whom, at the most.
#[derive(Default)]
pub(crate) struct Readers {
    sent: RefCell<HashMap<String, usize>>,
    /// The bus does not tell.
    is_blind: Cell<bool>,
}

impl Readers {
    /// So many bytes were sent.
    pub(crate) fn sent(&self, name: &str, bytes: usize) {
        if self.is_blind.get() {
            return;
        }
        let mut sent = self.sent.borrow_mut();
        if let Some(sum) = sent.get_mut(name) {
            *sum = sum.saturating_add(bytes);
            return;
        }
        if sent.len() >= REMEMBERED {
            // Most are gone by now. Of the others little is forgotten.
            sent.retain(|_, sum| *sum > LITTLE);
        }
        sent.insert(name.to_owned(), bytes);
    }

    /// Whether a client may have much that it did not read.
    pub(crate) fn is_doubted(&self, name: &str) -> bool {
        !self.is_blind.get() && self.sent.borrow().get(name).is_some_and(|sum| *sum > LITTLE)
    }

    /// Waits until a client has read all but a little, or is gone.
    pub(crate) async fn wait_for(&self, connection: &Connection, name: String) {
        let mut pause = PAUSE;
        while self.is_doubted(&name) {
            match describe(connection, STATS, "GetConnectionStats", name.clone()).await {
                Ok(entries) => self.told(&name, outgoing(entries)),
                // Gone, as everybody who never reads is one day; or the bus does not say such things.
                Err(error) => {
                    self.sent.borrow_mut().remove(&name);
                    self.is_blind.set(is_refusal(&error));
                    return;
                }
            }
            if self.is_doubted(&name) {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn told(&self, name: &str, unread: Option<usize>) {
        let Some(unread) = unread else {
            self.is_blind.set(true);
            return;
        };
        let mut sent = self.sent.borrow_mut();
        if unread > LITTLE {
            sent.insert(name.to_owned(), unread);
        } else {
            sent.remove(name);
        }
    }
}

/// How many bytes the bus keeps for a client.
fn outgoing(mut entries: HashMap<String, OwnedVariant>) -> Option<usize> {
    match entries.remove("OutgoingBytes").map(Variant::from) {
        Some(Variant::U32(bytes)) => usize::try_from(bytes).ok(),
        _ => None,
    }
}

/// Whether a bus refuses to answer whoever is asked after.
fn is_refusal(error: &zbus::Error) -> bool {
    let zbus::Error::FDO(error) = error else {
        return matches!(error, zbus::Error::MethodError(..));
    };
    !matches!(**error, zbus::fdo::Error::NameHasNoOwner(_) | zbus::fdo::Error::ZBus(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_sent_little_is_not_doubted() {
        let readers = Readers::default();
        readers.sent(":1.1", LITTLE);
        assert!(!readers.is_doubted(":1.1"));
        readers.sent(":1.1", 1);
        assert!(readers.is_doubted(":1.1"));
        assert!(!readers.is_doubted(":1.2"));
        readers.told(":1.1", Some(LITTLE + 1));
        assert!(readers.is_doubted(":1.1"));
        readers.told(":1.1", Some(0));
        assert!(!readers.is_doubted(":1.1"));
    }

    #[test]
    fn a_bus_that_does_not_tell_is_asked_no_more() {
        let readers = Readers::default();
        readers.sent(":1.1", LITTLE + 1);
        readers.told(":1.1", None);
        assert!(!readers.is_doubted(":1.1"));
        readers.sent(":1.2", LITTLE + 1);
        assert!(!readers.is_doubted(":1.2"));
    }

    #[test]
    fn no_number_of_clients_fills_the_memory() {
        let readers = Readers::default();
        for number in 0..3 * REMEMBERED {
            readers.sent(&format!(":1.{number}"), 100);
        }
        assert!(readers.sent.borrow().len() <= REMEMBERED);
    }
}
