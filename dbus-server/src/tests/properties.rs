use std::collections::HashMap;

use super::*;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const CONTROL_PATH: &str = "/test/Control";

fn get() -> Builder<'static> {
    call(CONTROL_PATH, PROPERTIES, "Get")
}

fn set() -> Builder<'static> {
    call(CONTROL_PATH, PROPERTIES, "Set")
}

#[test]
fn a_property_is_read_alone_or_with_the_others() {
    run(async |bench: Bench| {
        let reply = bench.reply(get(), &("test.Control", "Name")).await.unwrap();
        assert_eq!(reply.body().signature().to_string(), "v");
        assert_eq!(reply.body().deserialize::<Variant<'_>>().unwrap(), Variant::from("me"));
        for interface in ["test.Control", ""] {
            let reply = bench.reply(call(CONTROL_PATH, PROPERTIES, "GetAll"), &interface).await.unwrap();
            let body = reply.body();
            assert_eq!(body.signature().to_string(), "a{sv}");
            let all: HashMap<&str, Variant<'_>> = body.deserialize().unwrap();
            let expected = HashMap::from([("Level", Variant::from("")), ("Name", Variant::from("me"))]);
            assert_eq!(all, expected);
        }
        // What is hidden can be read by whoever knows of it.
        assert_eq!(bench.ask(get(), &("test.Control", "Old")).await, "ok v");
        assert_eq!(bench.ask(get(), &("test.Control", "Old", "more")).await, "ok v");
    });
}

#[test]
fn an_object_is_looked_at_once_for_each_reply_that_tells_of_it() {
    run(async |bench: Bench| {
        assert_eq!(bench.ask(get(), &("test.Control", "Name")).await, "ok v");
        assert_eq!(bench.ask(call(CONTROL_PATH, PROPERTIES, "GetAll"), &"").await, "ok a{sv}");
        assert_eq!(bench.log(), ["look", "look"]);
        assert_eq!(bench.ask(set(), &("test.Control", "Level", Variant::from("blind"))).await, "ok ");
        assert_eq!(bench.log().len(), 2);
        assert_eq!(bench.ask(get(), &("test.Control", "Name")).await, "Failed: cannot see");
    });
}

#[test]
fn what_cannot_be_read_is_said_as_sd_bus_says_it() {
    run(async |bench: Bench| {
        let both = "InvalidArgs: Expected interface and member parameters";
        assert_eq!(bench.ask(get(), &()).await, both);
        assert_eq!(bench.ask(get(), &"test.Control").await, both);
        assert_eq!(bench.ask(get(), &("test.Control", 1_u32)).await, both);
        let unknown = "UnknownProperty: Unknown interface a.b or property Name.";
        assert_eq!(bench.ask(get(), &("a.b", "Name")).await, unknown);
        let all = || call(CONTROL_PATH, PROPERTIES, "GetAll");
        assert_eq!(bench.ask(all(), &()).await, "InvalidArgs: Expected interface parameter");
        assert_eq!(bench.ask(all(), &"a.b").await, "UnknownInterface: Unknown interface 'a.b'.");
        assert_eq!(bench.ask(all(), &PROPERTIES).await, "ok a{sv}");
        let of_parent = || call("/test/thing", PROPERTIES, "GetAll");
        assert_eq!(bench.ask(of_parent(), &"").await, "ok a{sv}");
        assert_eq!(
            bench.ask(of_parent(), &"test.Thing").await,
            "UnknownInterface: Unknown interface 'test.Thing'."
        );
    });
}

#[test]
fn a_writable_property_is_written_by_root() {
    run(async |bench: Bench| {
        let level = |value: Variant<'static>| ("test.Control", "Level", value);
        assert_eq!(bench.ask(set(), &level(Variant::from("debug"))).await, "ok ");
        assert_eq!(*bench.probe.level.borrow(), "debug");
        assert_eq!(bench.ask(set(), &level(Variant::from("bad"))).await, "InvalidArgs: Invalid level 'bad'");
        let denied = "AccessDenied: Access to test.Control.Level() not permitted.";
        assert_eq!(bench.ask(set().sender(":1.4711"), &level(Variant::from("bad"))).await, denied);
        assert_eq!(*bench.probe.level.borrow(), "debug");
    });
}

#[test]
fn what_cannot_be_written_is_said_as_sd_bus_says_it() {
    run(async |bench: Bench| {
        let with = |name: &'static str, value: Variant<'static>| ("test.Control", name, value);
        assert_eq!(
            bench.ask(set(), &with("Name", Variant::from("x"))).await,
            "PropertyReadOnly: Property 'Name' is not writable."
        );
        assert_eq!(
            bench.ask(set(), &with("Nope", Variant::from("x"))).await,
            "UnknownProperty: Unknown interface test.Control or property Nope."
        );
        assert_eq!(
            bench.ask(set(), &with("Level", Variant::from(1_u32))).await,
            "InvalidArgs: Incorrect parameters for property 'Level', expected 's', got 'u'."
        );
        assert_eq!(
            bench.ask(set(), &("test.Control", "Level", 1_u32)).await,
            "InvalidSignature: Incorrect signature when setting property 'Level', expected 'v', got 'u'."
        );
        assert_eq!(
            bench.ask(set(), &("test.Control", "Level")).await,
            "InvalidSignature: Incorrect signature when setting property 'Level', expected 'v', got ''."
        );
    });
}
