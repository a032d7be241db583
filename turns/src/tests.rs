//! Work of several users on one thread.

use super::*;
use tokio::task::{LocalSet, spawn_local};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), test).await.unwrap() };
    LocalSet::new().block_on(&runtime, in_time)
}

/// Works for a slice.
fn work(turns: &Turns) {
    while !turns.is_over() {
        std::hint::spin_loop();
    }
}

/// A hundred of a user who always have work; how many turns they have had.
fn crowd(turns: &Turns, user: User, length: Length) -> Rc<Cell<u32>> {
    let done = Rc::new(Cell::new(0));
    for _ in 0..100 {
        let (turns, done) = (turns.clone(), done.clone());
        spawn_local(async move {
            let busy = async {
                turns.lasts(length);
                loop {
                    work(&turns);
                    done.update(|done| done + 1);
                    yield_now().await;
                }
            };
            turns.take(user, busy).await
        });
    }
    done
}

#[test]
fn a_crowd_of_one_user_and_one_of_another_take_turns() {
    run(async {
        let turns = Turns::default();
        spawn_local(turns.clone().run());
        let done = crowd(&turns, User::Uid(1), Length::Short);
        for user in [User::Uid(2), User::Privileged] {
            let before = done.get();
            let few = async {
                for _ in 0..10 {
                    work(&turns);
                    yield_now().await;
                }
            };
            turns.take(user, few).await;
            let others = done.get() - before;
            assert!(others <= 25, "{others} turns of others for 10 of {user:?}");
        }
    });
}

#[test]
fn a_crowd_with_long_work_lets_short_work_of_the_same_user_pass() {
    run(async {
        let turns = Turns::default();
        spawn_local(turns.clone().run());
        let done = crowd(&turns, User::Privileged, Length::Long);
        // Each has said so by then.
        while done.get() < 200 {
            yield_now().await;
        }
        let before = done.get();
        let few = async {
            for _ in 0..10 {
                work(&turns);
                yield_now().await;
            }
        };
        turns.take(User::Privileged, few).await;
        let others = done.get() - before;
        assert!((5..=25).contains(&others), "{others} long turns for 10 short ones");
    });
}

#[test]
fn who_waits_for_something_holds_up_nobody_and_who_leaves_neither() {
    run(async {
        let turns = Turns::default();
        spawn_local(turns.clone().run());
        let (waiting, gone) = (turns.clone(), turns.clone());
        let waiting =
            spawn_local(async move { waiting.take(User::Uid(1), std::future::pending::<()>()).await });
        let leaver = spawn_local(async move { gone.take(User::Uid(1), async { yield_now().await }).await });
        tokio::task::yield_now().await;
        leaver.abort();
        for _ in 0..100 {
            assert_eq!(turns.take(User::Uid(2), async { 7 }).await, 7);
        }
        waiting.abort();
        assert!(waiting.await.is_err());
        assert_eq!(turns.take(User::Uid(1), async { 8 }).await, 8);
    });
}

#[test]
fn whoever_brings_in_work_lets_those_who_wait_have_their_turns() {
    run(async {
        let turns = Turns::default();
        // Nobody gives turns out yet.
        turns.pass().await;
        spawn_local(turns.clone().run());
        yield_now().await;
        // Nobody waits.
        turns.pass().await;
        let done = Rc::new(Cell::new(0));
        let (mut begun, mut most) = (0, 0);
        for _ in 0..50 {
            for _ in 0..100 {
                let counted = done.clone();
                spawn_local(turns.take(User::Uid(1), async move { counted.update(|done| done + 1) }));
                begun += 1;
            }
            turns.pass().await;
            most = most.max(begun - done.get());
        }
        // A millisecond is enough for a hundred of these; without it more and more of them would wait.
        assert!(most <= 1000, "{most} wait");
    });
}

#[test]
fn who_is_interrupted_by_other_processes_pays_for_what_it_used_alone() {
    let (before, began) = (processor_time(), Instant::now());
    std::thread::sleep(Duration::from_millis(20));
    assert!(processor_time() - before < began.elapsed() / 2);
}
