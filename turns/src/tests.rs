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

#[test]
fn a_crowd_of_one_user_and_one_of_another_take_turns() {
    run(async {
        let turns = Turns::default();
        spawn_local(turns.clone().run());
        let done = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let (turns, done) = (turns.clone(), done.clone());
            spawn_local(async move {
                let busy = async {
                    loop {
                        work(&turns);
                        done.update(|done| done + 1);
                        yield_now().await;
                    }
                };
                turns.take(User::Uid(1), busy).await
            });
        }
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
