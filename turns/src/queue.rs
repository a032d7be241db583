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

/// How many turns it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// A few: somebody waits for the answer.
    #[default]
    Short,
    /// As many as there are, perhaps for ever.
    Long,
}

impl Length {
    fn other(self) -> Self {
        match self {
            Self::Short => Self::Long,
            Self::Long => Self::Short,
        }
    }
}

/// A place in the queue.
#[derive(Debug)]
pub struct Place<T> {
    /// Whose it is.
    pub user: User,
    /// How long the work is.
    pub length: Length,
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
    short: VecDeque<T>,
    long: VecDeque<T>,
    /// What was served last.
    last: Length,
    used: Duration,
}

impl<T> Line<T> {
    fn new(used: Duration) -> Self {
        Self { short: VecDeque::new(), long: VecDeque::new(), last: Length::Long, used }
    }

    fn waiting(&mut self, length: Length) -> &mut VecDeque<T> {
        match length {
            Length::Short => &mut self.short,
            Length::Long => &mut self.long,
        }
    }

    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// Short and long work by turns: a hundred of the one are no more in the way of the other than a single one.
    fn next(&mut self) -> Option<(Length, T)> {
        let wanted = self.last.other();
        let (length, value) = match self.waiting(wanted).pop_front() {
            Some(value) => (wanted, value),
            None => (self.last, self.waiting(self.last).pop_front()?),
        };
        self.last = length;
        Some((length, value))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), clock: Duration::ZERO }
    }
}

impl<T> Queue<T> {
    fn line(&mut self, user: User) -> &mut Line<T> {
        let clock = self.clock;
        let line = self.lines.entry(user).or_insert_with(|| Line::new(clock));
        if line.is_empty() {
            line.used = line.used.max(clock);
        }
        line
    }

    /// Puts somebody behind the others of the same user whose work is as long.
    pub fn push(&mut self, place: Place<T>) {
        self.line(place.user).waiting(place.length).push_back(place.value);
    }

    /// Puts back who was taken out last.
    pub fn put_back(&mut self, place: Place<T>) {
        let line = self.line(place.user);
        line.waiting(place.length).push_front(place.value);
        line.last = place.length.other();
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.values().all(Line::is_empty)
    }

    /// Takes out whose turn is next.
    pub fn next(&mut self) -> Option<Place<T>> {
        let waiting = self.lines.iter_mut().filter(|(_, line)| !line.is_empty());
        let (&user, line) = waiting.min_by_key(|(user, line)| (**user != User::Privileged, line.used))?;
        let (length, value) = line.next()?;
        if user != User::Privileged {
            self.clock = self.clock.max(line.used);
        }
        Some(Place { user, length, value })
    }

    /// A user has used so much time.
    pub fn charge(&mut self, user: User, time: Duration) {
        if user != User::Privileged {
            let line = self.line(user);
            line.used = line.used.saturating_add(time);
        }
        let clock = self.clock;
        self.lines.retain(|_, line| !line.is_empty() || line.used > clock);
    }

    /// Takes somebody out who does not want a turn any more.
    pub fn remove(&mut self, user: User, is_it: impl Fn(&T) -> bool) {
        if let Some(line) = self.lines.get_mut(&user) {
            line.short.retain(|value| !is_it(value));
            line.long.retain(|value| !is_it(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn push(queue: &mut Queue<&'static str>, user: User, length: Length, value: &'static str) {
        queue.push(Place { user, length, value });
    }

    fn serve(queue: &mut Queue<&'static str>, time: Duration) -> &'static str {
        let place = queue.next().unwrap();
        queue.charge(place.user, time);
        place.value
    }

    #[test]
    fn turns_go_round_by_user_and_then_by_connection() {
        let mut queue = Queue::default();
        for value in ["a1", "a2", "a3"] {
            push(&mut queue, User::Uid(1), Length::Short, value);
        }
        push(&mut queue, User::Uid(2), Length::Short, "b1");
        let mut order = vec![serve(&mut queue, MS), serve(&mut queue, MS)];
        order.sort_unstable();
        assert_eq!(order, ["a1", "b1"]);
        push(&mut queue, User::Uid(2), Length::Short, "b1");
        let mut order = vec![serve(&mut queue, MS), serve(&mut queue, MS)];
        order.sort_unstable();
        assert_eq!(order, ["a2", "b1"]);
        assert_eq!(serve(&mut queue, MS), "a3");
        assert!(queue.next().is_none());
    }

    #[test]
    fn who_uses_much_time_waits_until_others_have_used_as_much() {
        let mut queue = Queue::default();
        push(&mut queue, User::Uid(1), Length::Short, "long");
        assert_eq!(serve(&mut queue, 10 * MS), "long");
        push(&mut queue, User::Uid(1), Length::Short, "long");
        for _ in 0..9 {
            push(&mut queue, User::Uid(2), Length::Short, "short");
            assert_eq!(serve(&mut queue, MS), "short");
        }
        push(&mut queue, User::Uid(2), Length::Short, "short");
        serve(&mut queue, 2 * MS);
        push(&mut queue, User::Uid(2), Length::Short, "short");
        assert_eq!(serve(&mut queue, MS), "long");
    }

    #[test]
    fn root_goes_first_and_nobody_saves_time_up() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            push(&mut queue, User::Uid(1), Length::Short, "busy");
            serve(&mut queue, MS);
        }
        push(&mut queue, User::Uid(1), Length::Short, "busy");
        push(&mut queue, User::Uid(2), Length::Short, "new");
        push(&mut queue, User::Privileged, Length::Short, "root");
        assert_eq!(serve(&mut queue, 50 * MS), "root");
        assert_eq!(serve(&mut queue, 3 * MS), "new");
        push(&mut queue, User::Uid(2), Length::Short, "new");
        // The newcomer has had its share, and does not get the hundred turns that the other one had before.
        assert_eq!(serve(&mut queue, MS), "busy");
    }

    #[test]
    fn who_is_done_is_forgotten() {
        let mut queue = Queue::default();
        for uid in 0..1000 {
            push(&mut queue, User::Uid(uid), Length::Short, "x");
        }
        queue.remove(User::Uid(7), |_| true);
        for _ in 0..999 {
            serve(&mut queue, MS);
        }
        assert!(queue.next().is_none());
        push(&mut queue, User::Uid(7), Length::Short, "x");
        serve(&mut queue, 2 * MS);
        push(&mut queue, User::Uid(8), Length::Short, "x");
        serve(&mut queue, 5 * MS);
        push(&mut queue, User::Uid(7), Length::Short, "x");
        serve(&mut queue, MS);
        assert!(queue.lines.len() <= 2, "{} are remembered", queue.lines.len());
    }

    #[test]
    fn long_work_of_a_user_lets_every_second_turn_to_the_short() {
        let mut queue = Queue::default();
        for value in ["long 1", "long 2", "long 3", "long 4"] {
            push(&mut queue, User::Privileged, Length::Long, value);
        }
        assert_eq!(serve(&mut queue, MS), "long 1");
        push(&mut queue, User::Privileged, Length::Short, "short 1");
        push(&mut queue, User::Privileged, Length::Short, "short 2");
        let order: Vec<_> = (0..5).map(|_| serve(&mut queue, MS)).collect();
        assert_eq!(order, ["short 1", "long 2", "short 2", "long 3", "long 4"]);
        assert!(queue.next().is_none());
    }

    #[test]
    fn who_is_put_back_is_the_next() {
        let mut queue = Queue::default();
        push(&mut queue, User::Uid(1), Length::Long, "long");
        push(&mut queue, User::Uid(1), Length::Short, "short");
        push(&mut queue, User::Uid(1), Length::Short, "short");
        for expected in ["short", "long", "short"] {
            let place = queue.next().unwrap();
            assert_eq!(place.value, expected);
            queue.put_back(place);
            assert_eq!(serve(&mut queue, MS), expected);
        }
    }
}
