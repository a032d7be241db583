use super::*;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

impl Jobs {
    /// How many children have not ended, as far as is known.
    pub fn unended(&self) -> usize {
        self.0.borrow().ending.len()
    }

    /// How many work.
    pub fn working(&self) -> usize {
        self.0.borrow().all_working
    }
}

fn key(number: usize) -> Key {
    Key::of_number(u64::try_from(number).unwrap())
}

fn machine(number: usize) -> Party {
    Party::machine(key(number), None)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn now(jobs: &Jobs, number: usize) -> Result<Turn, Errno> {
    poll(pin!(jobs.turn(machine(number)))).unwrap()
}

fn assert_idle(jobs: &Jobs) {
    let state = jobs.0.borrow();
    assert!(state.working.is_empty() && state.waiting.is_empty() && state.gone.is_empty());
    assert!(state.users_working.is_empty());
    assert_eq!((state.all_working, state.all_slow, state.ending.len()), (0, 0, 0));
}

/// A process that runs.
fn running() -> OwnedFd {
    pidfd_open(getpid(), PidfdFlags::empty()).unwrap()
}

#[test]
fn turns_go_round_by_machine_and_no_machine_takes_all() {
    let jobs = Jobs::default();
    let mut held: Vec<Turn> = (0..WORKING).map(|_| now(&jobs, 1).unwrap()).collect();
    let mut greedy: Vec<_> = (0..8).map(|_| Box::pin(jobs.turn(machine(1)))).collect();
    for waiting in &mut greedy {
        assert!(poll(waiting.as_mut()).is_none());
    }
    held.push(now(&jobs, 2).unwrap());
    held.extend((WORKING + 1..ALL_WORKING).map(|number| now(&jobs, number).unwrap()));
    let mut modest = Box::pin(jobs.turn(machine(99)));
    assert!(poll(modest.as_mut()).is_none(), "all is taken");
    // The greedy one has waited longer, but it was its turn before.
    held.remove(0);
    assert!(poll(modest.as_mut()).is_some());
    let turns: Vec<_> = greedy.iter_mut().filter_map(|waiting| poll(waiting.as_mut())).collect();
    assert_eq!(turns.len(), 1);
    drop((held, greedy, modest, turns));
    assert_idle(&jobs);
}

#[test]
fn a_machine_that_goes_ends_what_is_done_and_waited_for_in_it() {
    let jobs = Jobs::default();
    let held: Vec<Turn> = (0..WORKING).map(|_| now(&jobs, 1).unwrap()).collect();
    let mut waiting = Box::pin(jobs.turn(machine(1)));
    assert!(poll(waiting.as_mut()).is_none());
    let (gone, other) = (jobs.gone(key(1)), jobs.gone(key(2)));
    let (mut told, mut untold) = (Box::pin(gone.wait()), Box::pin(other.wait()));
    assert!(poll(told.as_mut()).is_none() && poll(untold.as_mut()).is_none());
    jobs.left(key(1));
    assert_eq!(poll(waiting.as_mut()).unwrap().unwrap_err(), Errno::SRCH);
    assert!(poll(told.as_mut()).is_some() && poll(untold.as_mut()).is_none());
    drop((told, untold));
    drop((held, gone, other));
    assert_idle(&jobs);
}

#[test]
fn whose_children_cannot_be_ended_gets_no_more_and_others_do() {
    let jobs = Jobs::default();
    (0..ABANDONED).for_each(|_| jobs.ends(machine(1), running(), true));
    // These have done their work, and are about to end.
    (0..ABANDONED).for_each(|_| jobs.ends(machine(2), running(), false));
    assert_eq!(now(&jobs, 1).unwrap_err(), Errno::TIMEDOUT);
    drop(now(&jobs, 2).unwrap());
    (ABANDONED..ALL_ABANDONED).for_each(|number| jobs.ends(machine(number + 10), running(), true));
    assert_eq!(now(&jobs, 2).unwrap_err(), Errno::TIMEDOUT);
    jobs.0.borrow_mut().ending.clear();
    (0..ENDING).for_each(|_| jobs.ends(machine(1), running(), false));
    assert_eq!(now(&jobs, 1).unwrap_err(), Errno::BUSY);
    jobs.0.borrow_mut().ending.clear();
    drop(now(&jobs, 1).unwrap());
    assert_idle(&jobs);
}

#[test]
fn who_waits_behind_children_that_are_left_behind_gets_no_turn() {
    let jobs = Jobs::default();
    let held: Vec<Turn> = (0..WORKING).map(|_| now(&jobs, 1).unwrap()).collect();
    let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(jobs.turn(machine(1)))).collect();
    let mut other = Box::pin(jobs.turn(Party::machine(key(2), Some(1000))));
    assert!(waiting.iter_mut().all(|waiting| poll(waiting.as_mut()).is_none()));
    for turn in held {
        jobs.ends(machine(1), running(), true);
        drop(turn);
    }
    for waiting in &mut waiting {
        assert_eq!(poll(waiting.as_mut()).unwrap().unwrap_err(), Errno::TIMEDOUT);
    }
    drop(poll(other.as_mut()).unwrap().unwrap());
    drop((waiting, other));
    jobs.0.borrow_mut().ending.clear();
    assert_idle(&jobs);
}

#[test]
fn many_machines_of_a_user_have_no_more_than_one_of_them() {
    let jobs = Jobs::default();
    let of_user = |number, uid| Party::machine(key(number), Some(uid));
    let turn = |party| poll(pin!(jobs.turn(party)));
    let held: Vec<_> =
        (0..USERS_WORKING).map(|number| turn(of_user(number, 1000)).unwrap().unwrap()).collect();
    assert!(turn(of_user(50, 1000)).is_none());
    drop((turn(of_user(60, 1001)).unwrap().unwrap(), turn(machine(70)).unwrap().unwrap()));
    drop(held);
    (0..USERS_ABANDONED).for_each(|number| jobs.ends(of_user(number, 1000), running(), true));
    assert_eq!(turn(of_user(50, 1000)).unwrap().unwrap_err(), Errno::TIMEDOUT);
    drop((turn(of_user(60, 1001)).unwrap().unwrap(), turn(machine(70)).unwrap().unwrap()));
    // Root's are told apart by machine alone.
    (0..USERS_ABANDONED).for_each(|number| jobs.ends(Party::machine(key(number), Some(0)), running(), true));
    drop(turn(machine(70)).unwrap().unwrap());
    jobs.0.borrow_mut().ending.clear();
    assert_idle(&jobs);
}

#[test]
fn children_that_take_long_keep_nobody_else_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let jobs = Jobs::default();
        let held: Vec<Turn> = (0..ALL_WORKING).map(|number| now(&jobs, number / WORKING).unwrap()).collect();
        let mut other = Box::pin(jobs.turn(machine(99)));
        assert!(poll(other.as_mut()).is_none());
        let mut long = Box::pin(held[0].wait_for(std::future::pending::<()>()));
        assert!(timeout(SLOW * 2, long.as_mut()).await.is_err());
        let other = poll(other.as_mut()).unwrap().unwrap();
        // Its machine has no more than before.
        assert!(poll(pin!(jobs.turn(machine(0)))).is_none());
        drop((long, other));
        drop(held);
        assert_idle(&jobs);
    });
}

#[test]
fn a_machine_that_has_gone_before_anybody_waits_for_that_is_gone() {
    let jobs = Jobs::default();
    let gone = jobs.gone(key(1));
    jobs.left(key(1));
    assert_eq!(poll(pin!(gone.wait())), Some(()));
    drop(gone);
    assert_idle(&jobs);
}

#[test]
fn a_child_that_has_ended_does_not_count() {
    let jobs = Jobs::default();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    jobs.ends(machine(1), pidfd_open(pid, PidfdFlags::empty()).unwrap(), true);
    child.wait().unwrap();
    jobs.0.borrow_mut().forget_ended();
    assert_idle(&jobs);
}
