//! What the daemon has on disk, and how that is made good where it fell behind.

use std::time::Duration;

use tracing::warn;

use super::{Change, Daemon};
use crate::error::Error;
use crate::log::with_causes;
use crate::machines::{Effect, Key};
use crate::publisher::Publisher;

/// How long to wait before a record is written again that could not be written.
const RETRY: Duration = Duration::from_secs(1);

impl Daemon {
    /// Removes the record of a machine, which is about to be dropped from the registry.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn withdraw(&self, key: Key) -> Result<(), Error> {
        let name = self.machines(|machines| machines.get(key).map(|record| record.name));
        name.map_or(Ok(()), |name| Ok(self.publisher.records().remove(&name)?))
    }

    /// Carries out what a machine demands that is there in any case, now or later.
    pub(super) fn publish(&self, key: Key, effects: &[Effect]) {
        if let Err(error) = self.carry_out(effects) {
            warn!("{}; trying again every second", with_causes(&error));
            self.unpublished.borrow_mut().insert(key);
        }
    }

    /// The same for something that has changed, of which the services hear, too.
    pub(super) fn alter(&self, key: Key, effects: &[Effect]) {
        if !effects.is_empty() {
            self.publish(key, effects);
            self.changes.announce(Change::Altered(key));
        }
    }

    /// Writes anew what could not be written when it changed (the disk was full), once per second until that is done:
    /// nothing tells when there is room again. Nothing runs while all is written.
    pub async fn mind_unpublished(&self) {
        loop {
            while self.unpublished.borrow().is_empty() && !self.publisher.is_behind() {
                self.fell_behind.notified().await;
            }
            tokio::time::sleep(RETRY).await;
            let keys = std::mem::take(&mut *self.unpublished.borrow_mut());
            for key in keys {
                if self.carry_out(&[Effect::Publish(key)]).is_err() {
                    self.unpublished.borrow_mut().insert(key);
                }
            }
            self.publisher.catch_up(&self.machines.borrow());
        }
    }

    pub(super) fn carry_out(&self, effects: &[Effect]) -> Result<(), Error> {
        let done = self.publisher.carry_out(&self.machines.borrow(), effects);
        if done.is_err() || self.publisher.is_behind() {
            self.fell_behind.notify_one();
        }
        Ok(done?)
    }

    /// Brings the published index in line with the records, for what happened while no daemon ran.
    pub async fn tidy(&self) {
        self.publisher.tidy(&self.machines).await;
        if self.publisher.is_behind() {
            self.fell_behind.notify_one();
        }
    }

    /// Notes for the next run that nothing is behind, if that is so. Nothing may change after this.
    pub fn leave_in_order(&self) {
        if self.unpublished.borrow().is_empty() {
            self.publisher.leave_in_order(self.count());
        }
    }

    /// The published registry.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Each on its own: what can be taken back is taken back.
    pub(super) fn take_back(&self, effects: Vec<Effect>) {
        for effect in effects {
            if let Err(error) = self.carry_out(&[effect]) {
                warn!("{}", with_causes(&error));
            }
        }
    }
}
