//! Machines that come and go, for whoever wants to hear of it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use registry::MachineName;

/// What happened to a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announcement {
    /// It is there.
    New(MachineName),
    /// It is gone.
    Removed(MachineName),
}

/// What is called with an announcement, at once: what it sends is sent before the answer to whoever made the change.
pub type Listener = dyn Fn(Announcement);

/// Who listens.
#[derive(Default)]
pub struct Announcements {
    listeners: RefCell<Vec<Weak<Listener>>>,
}

impl Announcements {
    /// Has a listener called for as long as it is there.
    pub fn subscribe(&self, listener: &Rc<Listener>) {
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Rc::downgrade(listener));
    }

    /// Tells everybody who listens.
    pub fn announce(&self, announcement: Announcement) {
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
        let listener: Rc<Listener> = Rc::new(move |_| count.update(|heard| heard + 1));
        announcements.subscribe(&listener);
        let web = MachineName::new(b"web").unwrap();
        announcements.announce(Announcement::New(web));
        drop(listener);
        announcements.announce(Announcement::Removed(web));
        assert_eq!(heard.get(), 1);
    }
}
