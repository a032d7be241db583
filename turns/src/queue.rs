//! Who waits for a turn, and whose turn is next.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// Root, or the daemon's own user: goes before all others.
    Privileged,
    /// Any other, by uid.
    Uid(u32),
}

/// A place in the queue.
#[derive(Debug)]
pub struct Place<T> {
    /// Whose it is.
    pub user: User,
    /// What waits.
    pub value: T,
}

/// All who wait.
#[derive(Debug)]
pub struct Queue<T> {
    lines: HashMap<User, Line<T>>,
    /// The time that whoever was served last had used. Who comes later starts with this: nobody saves time up.
    clock: Duration,
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<T>,
    used: Duration,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), clock: Duration::ZERO }
    }
}

impl<T> Queue<T> {
    fn line(&mut self, user: User) -> &mut Line<T> {
        let clock = self.clock;
        let line = self.lines.entry(user).or_insert(Line { waiting: VecDeque::new(), used: clock });
        if line.waiting.is_empty() {
            line.used = line.used.max(clock);
        }
        line
    }

    /// Puts somebody behind the others of the same user.
    pub fn push(&mut self, place: Place<T>) {
        self.line(place.user).waiting.push_back(place.value);
    }

    /// Puts back who was taken out last.
    pub fn put_back(&mut self, place: Place<T>) {
        self.line(place.user).waiting.push_front(place.value);
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.values().all(|line| line.waiting.is_empty())
    }

    /// Takes out whose turn is next.
    pub fn next(&mut self) -> Option<Place<T>> {
        let waiting = self.lines.iter_mut().filter(|(_, line)| !line.waiting.is_empty());
        let (&user, line) = waiting.min_by_key(|(user, line)| (**user != User::Privileged, line.used))?;
        let value = line.waiting.pop_front()?;
        if user != User::Privileged {
            self.clock = self.clock.max(line.used);
        }
        Some(Place { user, value })
    }

    /// A user has used so much time.
    pub fn charge(&mut self, user: User, time: Duration) {
        if user != User::Privileged {
            let line = self.line(user);
            line.used = line.used.saturating_add(time);
        }
        let clock = self.clock;
        self.lines.retain(|_, line| !line.waiting.is_empty() || line.used > clock);
    }

    /// Takes somebody out who does not want a turn any more.
    pub fn remove(&mut self, user: User, is_it: impl Fn(&T) -> bool) {
        if let Some(line) = self.lines.get_mut(&user) {
            line.waiting.retain(|value| !is_it(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn serve(queue: &mut Queue<&'static str>, time: Duration) -> &'static str {
        let place = queue.next().unwrap();
        queue.charge(place.user, time);
        place.value
    }

    #[test]
    fn turns_go_round_by_user_and_then_by_connection() {
        let mut queue = Queue::default();
        for value in ["a1", "a2", "a3"] {
            queue.push(Place { user: User::Uid(1), value });
        }
        queue.push(Place { user: User::Uid(2), value: "b1" });
        let mut order = vec![serve(&mut queue, MS), serve(&mut queue, MS)];
        order.sort_unstable();
        assert_eq!(order, ["a1", "b1"]);
        queue.push(Place { user: User::Uid(2), value: "b1" });
        let mut order = vec![serve(&mut queue, MS), serve(&mut queue, MS)];
        order.sort_unstable();
        assert_eq!(order, ["a2", "b1"]);
        assert_eq!(serve(&mut queue, MS), "a3");
        assert!(queue.next().is_none());
    }

    #[test]
    fn who_uses_much_time_waits_until_others_have_used_as_much() {
        let mut queue = Queue::default();
        queue.push(Place { user: User::Uid(1), value: "long" });
        assert_eq!(serve(&mut queue, 10 * MS), "long");
        queue.push(Place { user: User::Uid(1), value: "long" });
        for _ in 0..9 {
            queue.push(Place { user: User::Uid(2), value: "short" });
            assert_eq!(serve(&mut queue, MS), "short");
        }
        queue.push(Place { user: User::Uid(2), value: "short" });
        serve(&mut queue, 2 * MS);
        queue.push(Place { user: User::Uid(2), value: "short" });
        assert_eq!(serve(&mut queue, MS), "long");
    }

    #[test]
    fn root_goes_first_and_nobody_saves_time_up() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(Place { user: User::Uid(1), value: "busy" });
            serve(&mut queue, MS);
        }
        queue.push(Place { user: User::Uid(1), value: "busy" });
        queue.push(Place { user: User::Uid(2), value: "new" });
        queue.push(Place { user: User::Privileged, value: "root" });
        assert_eq!(serve(&mut queue, 50 * MS), "root");
        assert_eq!(serve(&mut queue, 3 * MS), "new");
        queue.push(Place { user: User::Uid(2), value: "new" });
        // The newcomer has had its share, and does not get the hundred turns that the other one had before.
        assert_eq!(serve(&mut queue, MS), "busy");
    }

    #[test]
    fn who_is_done_is_forgotten() {
        let mut queue = Queue::default();
        for uid in 0..1000 {
            queue.push(Place { user: User::Uid(uid), value: "x" });
        }
        queue.remove(User::Uid(7), |_| true);
        for _ in 0..999 {
            serve(&mut queue, MS);
        }
        assert!(queue.next().is_none());
        queue.push(Place { user: User::Uid(7), value: "x" });
        serve(&mut queue, 2 * MS);
        queue.push(Place { user: User::Uid(8), value: "x" });
        serve(&mut queue, 5 * MS);
        queue.push(Place { user: User::Uid(7), value: "x" });
        serve(&mut queue, MS);
        assert!(queue.lines.len() <= 2, "{} are remembered", queue.lines.len());
    }
}
