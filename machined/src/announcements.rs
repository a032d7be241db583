//! What happens to machines, for whoever wants to hear of it.

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};

/// What is called with an announcement, at once.
pub type Listener<T> = dyn Fn(T);

/// Who listens.
pub struct Announcements<T> {
    listeners: RefCell<Vec<Weak<Listener<T>>>>,
}

impl<T> Default for Announcements<T> {
    fn default() -> Self {
        Self { listeners: RefCell::default() }
    }
}

impl<T> fmt::Debug for Announcements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcements").field("listeners", &self.listeners.borrow().len()).finish()
    }
}

impl<T: Copy> Announcements<T> {
    /// Has a listener called for as long as it is there.
    pub fn subscribe(&self, listener: &Rc<Listener<T>>) {
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Rc::downgrade(listener));
    }

    /// Tells everybody who listens.
    pub fn announce(&self, announcement: T) {
        for listener in self.listeners.borrow().iter().filter_map(Weak::upgrade) {
            listener(announcement);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn who_is_gone_hears_nothing_more() {
        let announcements = Announcements::default();
        let heard = Rc::new(Cell::new(0));
        let count = heard.clone();
        let listener: Rc<Listener<u32>> = Rc::new(move |number| count.update(|heard| heard + number));
        announcements.subscribe(&listener);
        announcements.announce(1);
        drop(listener);
        announcements.announce(2);
        assert_eq!(heard.get(), 1);
    }
}
