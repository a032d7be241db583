use super::*;

fn text(member: &'static str, text: &str, sender: &'static str) -> Message {
    call(ROOT, MANAGER, member).sender(sender).build(&text).unwrap()
}

fn echo(text: &str, sender: &'static str) -> Message {
    call(ROOT, MANAGER, "Echo").sender(sender).build(&(text, 1_u32)).unwrap()
}

#[test]
fn the_calls_of_one_sender_begin_when_the_one_before_is_done() {
    run(async |bench: Bench| {
        bench.server.accept(text("Wait", "1", ":1.1"));
        bench.server.accept(echo("2", ":1.1"));
        bench.settle().await;
        assert_eq!(bench.log(), ["wait 1"]);
        bench.probe.released.notify_one();
        bench.settle().await;
        assert_eq!(bench.log(), ["wait 1", "waited 1", "echo 2"]);
        assert!(bench.server.queues.borrow().is_empty());
    });
}

#[test]
fn no_sender_waits_for_another() {
    run(async |bench: Bench| {
        bench.server.accept(text("Wait", "1", ":1.1"));
        bench.server.accept(echo("2", ":1.2"));
        bench.settle().await;
        assert_eq!(bench.log(), ["wait 1", "echo 2"]);
        assert_eq!(bench.sent(), 1);
    });
}

#[test]
fn a_call_that_lets_others_pass_has_begun_before_them() {
    run(async |bench: Bench| {
        for number in 0..3 {
            bench.server.accept(text("Defer", &number.to_string(), ":1.1"));
        }
        bench.server.accept(echo("last", ":1.1"));
        bench.settle().await;
        assert_eq!(bench.log(), ["wait 0", "wait 1", "wait 2", "echo last"]);
        for _ in 0..3 {
            bench.probe.released.notify_one();
            bench.settle().await;
        }
        assert_eq!(bench.sent(), 4);
        assert!(bench.server.queues.borrow().is_empty());
    });
}

#[test]
fn thousands_of_calls_that_wait_are_answered_in_order_and_let_others_in_between() {
    run(async |bench: Bench| {
        bench.server.accept(text("Wait", "", ":1.1"));
        for number in 0..3000 {
            bench.server.accept(echo(&number.to_string(), ":1.1"));
        }
        bench.probe.released.notify_one();
        yield_now().await;
        yield_now().await;
        bench.server.accept(echo("other", ":1.2"));
        bench.settle().await;
        let log = bench.log();
        let place = log.iter().position(|line| line == "echo other").unwrap();
        assert!(place < 100, "{place}");
        let numbers: Vec<u32> =
            log.iter().filter_map(|line| line.strip_prefix("echo ")?.parse().ok()).collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
        assert!(bench.server.queues.borrow().is_empty());
    });
}

#[test]
fn too_many_calls_and_too_large_ones_are_refused_and_cost_nobody_else_anything() {
    let limits = Limits { message: 4000, calls: 3, bytes: 10_000, all_bytes: 20_000 };
    run_with(limits, async |bench: Bench| {
        let refused = "LimitsExceeded: Too many calls at once.";
        let large = "LimitsExceeded: The message is too large.";
        let echo_of = |text: String| (text, 1_u32);
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Echo"), &echo_of("x".repeat(5000))).await, large);
        for _ in 0..3 {
            bench.server.accept(text("Wait", "", ":1.1"));
        }
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Wait").sender(":1.1"), &"4").await, refused);
        // Those that pass count too, or there would be no end of them.
        for _ in 0..3 {
            bench.server.accept(text("Defer", &"y".repeat(3500), ":1.2"));
            bench.settle().await;
        }
        assert_eq!(bench.probe.running.get(), 1 + 2);
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Echo").sender(":1.3"), &("x", 1_u32)).await, "ok s");
        for _ in 0..5 {
            bench.probe.released.notify_one();
            bench.settle().await;
        }
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Echo").sender(":1.1"), &("x", 1_u32)).await, "ok s");
        assert!(bench.server.queues.borrow().is_empty());
    });
}

#[test]
fn one_call_of_everybody_is_let_in_whatever_others_have_in_store() {
    let limits = Limits { message: 4000, calls: 100, bytes: 8000, all_bytes: 8000 };
    run_with(limits, async |bench: Bench| {
        bench.server.accept(text("Wait", &"x".repeat(3500), ":1.1"));
        bench.server.accept(text("Wait", &"x".repeat(3500), ":1.1"));
        bench.server.accept(text("Wait", &"x".repeat(3500), ":1.2"));
        bench.settle().await;
        assert_eq!(bench.probe.running.get(), 2);
        bench.server.accept(text("Wait", "", ":1.2"));
        bench.settle().await;
        assert_eq!(bench.sent(), 1);
    });
}

#[test]
fn a_signal_goes_out_before_the_reply_that_was_sent_after_it() {
    run(async |bench: Bench| {
        bench.server.emit(ROOT, MANAGER, "Happened", &("web", zbus::ObjectPath::try_from("/x").unwrap()));
        bench.server.accept(echo("x", ":1.1"));
        bench.settle().await;
        let types: Vec<_> = bench.bus.sent.borrow().iter().map(Message::message_type).collect();
        assert_eq!(types, [Type::Signal, Type::MethodReturn]);
    });
}

#[test]
fn whoever_does_not_read_gets_nothing_more_until_he_does() {
    let limits = Limits { calls: 3, ..Limits::default() };
    run_with(limits, async |bench: Bench| {
        bench.bus.deaf.replace(Some(":1.1".to_owned()));
        for number in 0..3 {
            bench.server.accept(echo(&number.to_string(), ":1.1"));
        }
        bench.server.accept(echo("other", ":1.2"));
        bench.settle().await;
        assert_eq!(bench.log(), ["echo other"]);
        assert_eq!(bench.sent(), 1);
        // What is too much has to be said. A bus lets nobody wait for many answers at a time.
        let refused = "LimitsExceeded: Too many calls at once.";
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Nothing").sender(":1.1"), &()).await, refused);
        bench.bus.deaf.replace(None);
        bench.bus.has_read.notify_one();
        bench.settle().await;
        assert_eq!(bench.log(), ["echo other", "echo 0", "echo 1", "echo 2"]);
        assert!(bench.server.queues.borrow().is_empty());
    });
}
