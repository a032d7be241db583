use super::*;

#[test]
fn a_call_gets_its_reply() {
    run(async |bench: Bench| {
        let reply = bench.reply(call(ROOT, MANAGER, "Echo"), &("ab", 2_u32)).await.unwrap();
        assert_eq!(reply.body().deserialize::<String>().unwrap(), "abab");
        assert_eq!(reply.header().destination().unwrap().as_str(), ":1.0");
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Nothing"), &()).await, "ok ");
        assert_eq!(bench.ask(call(THING, "test.Thing", "Touch"), &()).await, "ok ");
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Hidden"), &()).await, "ok ");
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Fail"), &()).await, "test.Failed: as asked");
        assert!(bench.server.queues.borrow().is_empty());
    });
}

#[test]
fn what_is_not_there_is_said_as_sd_bus_says_it() {
    run(async |bench: Bench| {
        for (path, interface, member, expected) in [
            ("/nope", MANAGER, "Echo", "UnknownObject: Unknown object '/nope'."),
            ("/test/thing/zz", "test.Thing", "Touch", "UnknownObject: Unknown object '/test/thing/zz'."),
            (
                "/test/thing/a_2db/x",
                "test.Thing",
                "Touch",
                "UnknownObject: Unknown object '/test/thing/a_2db/x'.",
            ),
            ("/", "a.b", "Foo", "UnknownObject: Unknown object '/'."),
            ("/test/thing", "a.b", "Foo", "UnknownMethod: Unknown method Foo or interface a.b."),
            (ROOT, MANAGER, "Nope", "UnknownMethod: Unknown method Nope or interface test.Manager."),
            (ROOT, "a.b", "Echo", "UnknownMethod: Unknown method Echo or interface a.b."),
            (
                THING,
                "org.freedesktop.DBus.Introspectable",
                "Nope",
                "UnknownMethod: Unknown method Nope or interface org.freedesktop.DBus.Introspectable.",
            ),
            (
                "/nope",
                "org.freedesktop.DBus.Peer",
                "Nope",
                "UnknownMethod: Unknown method 'Nope' on interface 'org.freedesktop.DBus.Peer'.",
            ),
        ] {
            assert_eq!(bench.ask(call(path, interface, member), &()).await, expected);
        }
    });
}

#[test]
fn arguments_are_those_of_the_table() {
    run(async |bench: Bench| {
        let expected = |got: &str| {
            format!("InvalidArgs: Invalid arguments '{got}' to call test.Manager.Echo(), expecting 'su'.")
        };
        let echo = || call(ROOT, MANAGER, "Echo");
        assert_eq!(bench.ask(echo(), &()).await, expected(""));
        assert_eq!(bench.ask(echo(), &"a").await, expected("s"));
        assert_eq!(bench.ask(echo(), &("a", 1_i32)).await, expected("si"));
        assert_eq!(bench.ask(echo(), &("a", 1_u32, 2_u32)).await, expected("suu"));
        assert_eq!(bench.ask(echo(), &(("a",), 1_u32)).await, expected("(s)u"));
    });
}

#[test]
fn a_peer_answers_at_every_path() {
    run(async |bench: Bench| {
        let ping = call("/nowhere", "org.freedesktop.DBus.Peer", "Ping");
        assert_eq!(bench.ask(ping, &"whatever").await, "ok ");
    });
}

#[test]
fn a_call_need_not_name_the_interface() {
    run(async |bench: Bench| {
        assert_eq!(bench.ask(anonymous(ROOT, "Echo"), &("a", 1_u32)).await, "ok s");
        assert_eq!(bench.ask(anonymous(ROOT, "Introspect"), &()).await, "ok s");
        assert_eq!(bench.ask(anonymous("/x", "Ping"), &()).await, "ok ");
        assert_eq!(
            bench.ask(anonymous(ROOT, "Nope"), &()).await,
            "UnknownMethod: Unknown method Nope or interface ."
        );
    });
}

#[test]
fn who_wants_no_reply_gets_none() {
    run(async |bench: Bench| {
        for (member, path) in [("Nothing", ROOT), ("Fail", ROOT), ("Nope", ROOT), ("Nothing", "/nope")] {
            let silent = call(path, MANAGER, member).with_flags(Flags::NO_REPLY_EXPECTED);
            assert_eq!(bench.ask(silent, &()).await, "nothing");
        }
        let silent = call(ROOT, MANAGER, "Echo").with_flags(Flags::NO_REPLY_EXPECTED);
        assert_eq!(bench.ask(silent, &("a", 1_u32)).await, "nothing");
        assert_eq!(bench.log(), ["echo a"]);
    });
}

#[test]
fn what_is_privileged_is_for_root_and_refused_before_the_arguments_are_read() {
    run(async |bench: Bench| {
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Secret"), &"x").await, "ok ");
        let somebody = || call(ROOT, MANAGER, "Secret").sender(":1.4711");
        let denied = "AccessDenied: Access to test.Manager.Secret() not permitted.";
        assert_eq!(bench.ask(somebody(), &"x").await, denied);
        assert_eq!(bench.ask(somebody(), &1_u32).await, denied);
        let nobody = call(ROOT, MANAGER, "Secret").sender(":2.0");
        assert_eq!(bench.ask(nobody, &"x").await, "Failed: nobody");
    });
}

#[test]
fn nobody_is_asked_who_calls_where_it_does_not_matter() {
    run(async |bench: Bench| {
        bench.ask(call(ROOT, MANAGER, "Echo"), &("a", 1_u32)).await;
        assert_eq!(bench.bus.asked.get(), 0);
        let reply = bench.reply(call(ROOT, MANAGER, "Whose").sender(":1.77"), &()).await.unwrap();
        assert_eq!(reply.body().deserialize::<u32>().unwrap(), 77);
    });
}

#[test]
fn a_reply_that_breaks_the_promise_of_the_table_is_not_sent() {
    run(async |bench: Bench| {
        assert_eq!(
            bench.ask(call(ROOT, MANAGER, "Lie"), &()).await,
            "Failed: The reply is not what it has to be."
        );
    });
}

#[test]
fn a_reply_that_a_bus_does_not_take_is_an_error_for_its_caller_alone() {
    run(async |bench: Bench| {
        let poison = bench.ask(call(ROOT, MANAGER, "Poison"), &()).await;
        assert_eq!(poison, "Failed: The reply has a text in it that cannot be sent.");
        let flood = bench.ask(call(ROOT, MANAGER, "Flood"), &()).await;
        assert_eq!(flood, "LimitsExceeded: The reply is too large.");
        let badly = bench.ask(call(ROOT, MANAGER, "FailBadly"), &()).await;
        assert!(badly.starts_with("Failed: a\u{fffd}ba\u{fffd}b"));
        assert_eq!(badly.chars().count(), "Failed: ".len() + (2 << 20));
        assert_eq!(bench.ask(call(ROOT, MANAGER, "Nothing"), &()).await, "ok ");
    });
}

#[test]
fn an_error_that_quotes_its_call_is_not_cut() {
    run(async |bench: Bench| {
        let wordily = bench.ask(call(ROOT, MANAGER, "FailWordily"), &()).await;
        assert_eq!(wordily.len() - wordily.trim_end_matches('x').len(), 99_999);
    });
}

#[test]
fn what_is_no_call_is_nothing() {
    run(async |bench: Bench| {
        let signal = Message::signal(ROOT, MANAGER, "Echo").sender(":1.0");
        assert_eq!(bench.ask(signal, &("a", 1_u32)).await, "nothing");
        assert!(bench.log().is_empty());
    });
}
