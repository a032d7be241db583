//! How much of a processor's time may be spent on what others can have us do.

use std::time::{Duration, Instant};

/// One part in so many, over a long time.
const SHARE: u32 = 100;
/// What may be spent at once: it was saved before.
const SAVED: Duration = Duration::from_millis(250);
/// The longest time to pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What may be spent.
#[derive(Debug)]
pub(super) struct Allowance {
    saved: Duration,
    owed: Duration,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self { saved: SAVED, owed: Duration::ZERO, since: now }
    }

    /// So much was spent since the last time. Returns how long to pause for it.
    pub(super) fn spend(&mut self, spent: Duration, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.since) / SHARE;
        self.since = now;
        let has = self.saved.saturating_add(earned);
        let saved = has.saturating_sub(self.owed).min(SAVED);
        self.owed = self.owed.saturating_sub(has).saturating_add(spent.saturating_sub(saved));
        self.saved = saved.saturating_sub(spent);
        self.owed.saturating_mul(SHARE).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_was_saved_is_spent_without_a_pause_and_the_rest_is_paid_in_time() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        assert_eq!(allowance.spend(ms(200), begin), Duration::ZERO);
        assert_eq!(allowance.spend(ms(60), begin), ms(1000), "10 ms too much");
        assert_eq!(allowance.spend(Duration::ZERO, begin + ms(500)), ms(500));
        assert_eq!(allowance.spend(Duration::ZERO, begin + ms(1000)), Duration::ZERO);
        assert_eq!(allowance.spend(ms(1), begin + ms(1000)), ms(100), "nothing is saved");
        assert_eq!(allowance.spend(ms(249), begin + ms(60_000)), Duration::ZERO, "it is again");
    }

    #[test]
    fn no_pause_is_longer_than_bearable_and_nothing_is_forgotten() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(begin);
        assert_eq!(allowance.spend(ms(450), begin), LONGEST_PAUSE);
        assert_eq!(allowance.spend(Duration::ZERO, begin + LONGEST_PAUSE), LONGEST_PAUSE);
        assert_eq!(allowance.spend(Duration::ZERO, begin + LONGEST_PAUSE * 2), Duration::ZERO);
        // More than so much is not saved.
        assert_eq!(allowance.spend(ms(260), begin + ms(10_000_000)), ms(1000));
    }
}
