//! Jobs of the service manager that somebody waits for.
//!
//! That a job has ended may be heard before the answer that names it, and may not be heard at all: over a restart of
//! the bus or of process 1. So the unit is listened to before the job is asked for, and whoever waits is told when
//! something may have been missed, and asks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is heard of a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// A job has ended.
    JobRemoved {
        /// Its path.
        job: String,
        /// How: `done`, `failed`, `canceled`, ...
        result: String,
    },
    /// Something may have been missed: the state is to be asked for.
    Doubt,
}

type Waiting = RefCell<HashMap<String, Vec<UnboundedSender<News>>>>;

/// Who waits for which unit.
#[derive(Debug, Default)]
pub struct Jobs {
    waiting: Rc<Waiting>,
}

impl Jobs {
    /// Listens to a unit, from now on.
    pub fn expect(&self, unit: &str) -> Expected {
        let (sender, news) = unbounded_channel();
        self.waiting.borrow_mut().entry(unit.to_owned()).or_default().push(sender);
        Expected { news, unit: unit.to_owned(), waiting: self.waiting.clone() }
    }

    /// Passes on what was heard of a unit.
    pub fn tell(&self, unit: &str, news: &News) {
        for sender in self.waiting.borrow().get(unit).into_iter().flatten() {
            // Who waits no longer need not know.
            let _ = sender.send(news.clone());
        }
    }

    /// Makes everybody ask.
    pub fn doubt(&self) {
        for sender in self.waiting.borrow().values().flatten() {
            let _ = sender.send(News::Doubt);
        }
    }
}

/// What is heard of a unit, in order.
#[derive(Debug)]
pub struct Expected {
    news: UnboundedReceiver<News>,
    unit: String,
    waiting: Rc<Waiting>,
}

impl Expected {
    /// Waits until something is heard. Returns false if nothing ever will be.
    pub async fn changed(&mut self) -> bool {
        self.news.recv().await.is_some()
    }

    /// Waits for the end of a job; `None`: there is doubt about it.
    pub async fn result(&mut self, job: &str) -> Option<String> {
        loop {
            match self.news.recv().await? {
                News::JobRemoved { job: ended, result } if ended == job => return Some(result),
                News::JobRemoved { .. } => {}
                News::Doubt => return None,
            }
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.news.close();
        let mut waiting = self.waiting.borrow_mut();
        if let Some(senders) = waiting.get_mut(&self.unit) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(&self.unit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(job: &str, result: &str) -> News {
        News::JobRemoved { job: job.to_owned(), result: result.to_owned() }
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                value = future => Some(value),
                () = tokio::task::yield_now() => None,
            }
        })
    }

    #[test]
    fn the_end_of_a_job_may_be_heard_before_the_answer_that_names_it() {
        let jobs = Jobs::default();
        let mut expected = jobs.expect("a.scope");
        jobs.tell("a.scope", &ended("/job/1", "done"));
        jobs.tell("a.scope", &ended("/job/2", "failed"));
        assert_eq!(now(expected.result("/job/2")), Some(Some("failed".to_owned())));
    }

    #[test]
    fn jobs_of_other_units_are_not_heard() {
        let jobs = Jobs::default();
        let mut expected = jobs.expect("a.scope");
        jobs.tell("b.scope", &ended("/job/1", "done"));
        assert_eq!(now(expected.result("/job/1")), None);
    }

    #[test]
    fn doubt_is_everybodys() {
        let jobs = Jobs::default();
        let (mut one, mut other) = (jobs.expect("a.scope"), jobs.expect("b.scope"));
        jobs.doubt();
        assert_eq!(now(one.result("/job/1")), Some(None));
        assert_eq!(now(other.result("/job/2")), Some(None));
    }

    #[test]
    fn nobody_is_kept_who_waits_no_longer() {
        let jobs = Jobs::default();
        let (one, other) = (jobs.expect("a.scope"), jobs.expect("a.scope"));
        drop(one);
        assert_eq!(jobs.waiting.borrow().len(), 1);
        drop(other);
        assert_eq!(jobs.waiting.borrow().len(), 0);
    }
}
