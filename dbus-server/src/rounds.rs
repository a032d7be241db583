//! Whose call is answered next: that of the sender who has used least time lately.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How many senders are remembered beside those that wait.
const REMEMBERED: usize = 64;
/// How far ahead of the others is who has called for nothing lately. Nobody saves more time up.
const SAVED: Duration = Duration::from_millis(1);

/// The senders that have a call to be answered.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// By the time that they have used, and then as they came.
    waiting: BTreeMap<(Duration, u64), String>,
    used: HashMap<String, Duration>,
    /// What each of those who wait would have used by now, if all had had the same.
    share: Duration,
    number: u64,
}

impl Rounds {
    /// A sender has a call, and waits until it is its turn.
    pub(crate) fn push(&mut self, sender: String) {
        let used = self.used_of(&sender);
        self.number = self.number.wrapping_add(1);
        self.waiting.insert((used, self.number), sender);
    }

    fn used_of(&self, sender: &str) -> Duration {
        self.used.get(sender).copied().unwrap_or_default().max(self.share.saturating_sub(SAVED))
    }

    /// Takes out whose turn is next.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.waiting.pop_first().map(|(_, sender)| sender)
    }

    /// The sender whose turn it was has used so much time, and has another call or none.
    pub(crate) fn served(&mut self, sender: String, time: Duration, goes_on: bool) {
        self.charge(sender.clone(), time);
        if goes_on {
            self.push(sender);
        }
    }

    fn charge(&mut self, sender: String, time: Duration) {
        let used = self.used_of(&sender).saturating_add(time);
        self.used.insert(sender, used);
        // New senders come after those who have waited: whoever calls from one connection after the other is one of many.
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.share = self.share.saturating_add(time / waiting.saturating_add(1));
        if self.used.len() > self.waiting.len().saturating_mul(2).saturating_add(REMEMBERED) {
            let least = self.share.saturating_sub(SAVED);
            self.used.retain(|_, used| *used > least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn serve(rounds: &mut Rounds, time: Duration) -> String {
        let sender = rounds.next().unwrap();
        rounds.charge(sender.clone(), time);
        sender
    }

    fn crowd(count: usize, turns: usize) -> Rounds {
        let mut rounds = Rounds::default();
        for number in 0..count {
            rounds.push(number.to_string());
        }
        for _ in 0..turns {
            let sender = serve(&mut rounds, MS / 4);
            rounds.push(sender);
        }
        rounds
    }

    #[test]
    fn turns_go_round_by_sender_and_whose_calls_are_costly_has_fewer() {
        let mut rounds = Rounds::default();
        for sender in ["a", "b"] {
            rounds.push(sender.to_owned());
        }
        let mut order = String::new();
        for _ in 0..600 {
            let sender = rounds.next().unwrap();
            order.push_str(&sender);
            rounds.charge(sender.clone(), if sender == "a" { 5 * MS } else { MS });
            rounds.push(sender);
        }
        let costly = order.matches('a').count();
        assert!((98..=102).contains(&costly), "{costly}");
        assert!(!order.contains("aa") && !order.contains("bbbbbbbb"), "{order}");
    }

    #[test]
    fn who_has_not_called_lately_is_next_however_many_others_wait() {
        let mut rounds = crowd(50, 2000);
        for _ in 0..3 {
            rounds.push("late".to_owned());
            assert_eq!(serve(&mut rounds, MS / 8), "late");
        }
        // That does not go on for ever.
        for _ in 0..20 {
            rounds.push("late".to_owned());
            if serve(&mut rounds, MS / 4) != "late" {
                return;
            }
        }
        panic!("the others have no turns");
    }

    #[test]
    fn new_senders_do_not_keep_the_others_from_their_turns() {
        let mut rounds = crowd(2, 40);
        let mut olds = 0;
        for number in 0..300 {
            if number % 3 != 0 {
                rounds.push(format!("new {number}"));
            }
            let sender = serve(&mut rounds, MS / 4);
            if !sender.starts_with("new") {
                olds += 1;
                rounds.push(sender);
            }
        }
        assert!(olds >= 60, "{olds}");
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let mut rounds = Rounds::default();
        for number in 0..10_000 {
            rounds.push(number.to_string());
            serve(&mut rounds, MS);
        }
        assert!(rounds.used.len() <= REMEMBERED + 2, "{}", rounds.used.len());
    }
}
