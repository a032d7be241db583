//! A small service without a bus: messages go in, and what comes out is looked at.

mod calls;
mod introspection;
mod order;
mod properties;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{LocalSet, yield_now};
use zbus::Variant;
use zbus::message::{Builder, Flags, Message, Type};
use zbus::wire::DynamicType;

use crate::*;

/// The state of the service under test.
#[derive(Default)]
struct Probe {
    level: RefCell<String>,
    log: RefCell<Vec<String>>,
    released: Notify,
    running: Cell<usize>,
}

impl Probe {
    fn note(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }
}

const ROOT: &str = "/test";
const THING: &str = "/test/thing/a_2db";
const MANAGER: &str = "test.Manager";

const OBJECTS: &[Object<Probe, &'static str>] = &[
    Object { path: ROOT, place: Place::Here("root"), interfaces: &[PROBE] },
    Object {
        path: "/test/Control",
        place: Place::Fresh { subject: "control", look: |probe, _, _| Box::pin(look(probe)) },
        interfaces: &[CONTROL],
    },
    Object {
        path: "/test/thing",
        place: Place::Below {
            find: |_, label, _| Box::pin(async move { (label.name()? == "a-b").then_some("a-b") }),
            labels: |_, _| Box::pin(async { vec![Label::of("a-b"), Label::of("1")] }),
        },
        interfaces: &[THINGS],
    },
];

const PROBE: Interface<Probe, &'static str> = Interface {
    name: MANAGER,
    properties: &[Property::new("Path", "s", Changes::Untold, |_, _| Ok(Variant::from("/x")))],
    methods: &[
        Method::new(
            "Echo",
            &[arg("s", "text"), arg("u", "number")],
            &[arg("s", "text")],
            |probe, _, call| now(echo(&probe, &call)),
        ),
        Method::new("Poison", &[], &[arg("s", "text")], |_, _, call| now(call.reply(&"a\0b"))),
        Method::new("Flood", &[], &[arg("s", "text")], |_, _, call| now(call.reply(&"a".repeat(33 << 20)))),
        Method::new("FailBadly", &[], &[], |_, _, _| {
            now(Err(ErrorReply::new("no name", "a\0b".repeat(1 << 20))))
        }),
        Method::new("FailWordily", &[], &[], |_, _, _| {
            now(Err(ErrorReply::new("test.Failed", "x".repeat(99_999))))
        }),
        Method::new("Nothing", &[], &[], |_, _, call| now(call.reply(&()))),
        Method::new("Fail", &[], &[], |_, _, _| now(Err(ErrorReply::new("test.Failed", "as asked")))),
        Method::new("Lie", &[], &[arg("u", "number")], |_, _, call| now(call.reply(&"no number"))),
        Method::new("Secret", &[arg("s", "x")], &[], |_, _, call| now(call.reply(&()))).privileged(),
        Method::new("Wait", &[arg("s", "text")], &[], |probe, _, call| Box::pin(wait(probe, call))),
        Method::new("Defer", &[arg("s", "text")], &[], |probe, _, call| Box::pin(defer(probe, call))),
        Method::new("Whose", &[], &[arg("u", "uid")], |_, _, call| Box::pin(whose(call))),
        Method::new("Hidden", &[], &[], |_, _, call| now(call.reply(&()))).hidden(),
    ],
    signals: &[Signal { name: "Happened", arguments: &[arg("s", "what"), arg("o", "path")] }],
};

const CONTROL: Interface<Probe, &'static str> = Interface {
    name: "test.Control",
    properties: &[
        Property::new("Level", "s", Changes::Untold, |probe: &Probe, _| {
            Ok(Variant::from(probe.level.borrow().clone()))
        })
        .writable(|probe, _, value| {
            let text: String = value.try_into().map_err(|_| ErrorReply::failed("no text"))?;
            if text == "bad" {
                return Err(ErrorReply::invalid_args("Invalid level 'bad'"));
            }
            probe.level.replace(text);
            Ok(())
        }),
        Property::new("Old", "s", Changes::Never, |_, _| Ok(Variant::from("old"))).hidden(),
        Property::new("Name", "s", Changes::Never, |_, name| Ok(Variant::from(*name))),
    ],
    methods: &[],
    signals: &[],
};

const THINGS: Interface<Probe, &'static str> = Interface {
    name: "test.Thing",
    properties: &[Property::new("Name", "s", Changes::Never, |_, name| Ok(Variant::from(*name)))],
    methods: &[Method::new("Touch", &[], &[], |_, _, call| now(call.reply(&())))],
    signals: &[],
};

async fn look(probe: Rc<Probe>) -> Result<&'static str, ErrorReply> {
    probe.note("look");
    yield_now().await;
    match probe.level.borrow().as_str() {
        "blind" => Err(ErrorReply::failed("cannot see")),
        _ => Ok("me"),
    }
}

fn echo(probe: &Probe, call: &Call) -> Result<Reply, ErrorReply> {
    let (text, number): (String, u32) = call.arguments()?;
    probe.note(format!("echo {text}"));
    call.reply(&text.repeat(usize::try_from(number).unwrap()))
}

/// Is done when it is released.
async fn wait(probe: Rc<Probe>, call: Call) -> Result<Reply, ErrorReply> {
    let text: String = call.arguments()?;
    probe.note(format!("wait {text}"));
    probe.running.update(|running| running + 1);
    probe.released.notified().await;
    probe.note(format!("waited {text}"));
    call.reply(&())
}

/// The same, but lets others pass.
async fn defer(probe: Rc<Probe>, call: Call) -> Result<Reply, ErrorReply> {
    let turn = call.turn.clone();
    turn.passing(wait(probe, call)).await
}

async fn whose(call: Call) -> Result<Reply, ErrorReply> {
    call.reply(&call.credentials().await?.uid)
}

/// Who `:1.N` is: user N; and what was sent.
#[derive(Default)]
struct Recorder {
    sent: RefCell<Vec<Message>>,
    asked: Cell<usize>,
    /// Who does not read, until `has_read`.
    deaf: RefCell<Option<String>>,
    has_read: Rc<Notify>,
}

/// A bus that sends nothing.
pub(crate) fn silent_bus() -> Rc<dyn Bus> {
    Rc::new(Recorder::default())
}

impl Bus for Recorder {
    fn send(&self, message: Message) {
        self.sent.borrow_mut().push(message);
    }

    fn unread(&self, name: &str) -> Option<LocalFuture<()>> {
        let has_read = self.has_read.clone();
        self.deaf.borrow().as_deref().filter(|deaf| *deaf == name)?;
        Some(Box::pin(async move { has_read.notified().await }))
    }

    fn credentials(&self, name: String) -> LocalFuture<Result<Rc<Credentials>, ErrorReply>> {
        self.asked.update(|asked| asked + 1);
        Box::pin(async move {
            yield_now().await;
            let uid = name.strip_prefix(":1.").and_then(|uid| uid.parse().ok());
            let uid = uid.ok_or_else(|| ErrorReply::failed("nobody"))?;
            Ok(Rc::new(Credentials { uid, pid: None, pidfd: None }))
        })
    }
}

struct Bench {
    probe: Rc<Probe>,
    bus: Rc<Recorder>,
    server: Rc<Server<Probe, &'static str>>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let (probe, bus) = (Rc::new(Probe::default()), Rc::new(Recorder::default()));
        let server = Server::new(probe.clone(), OBJECTS, bus.clone(), limits);
        Self { probe, bus, server }
    }

    fn log(&self) -> Vec<String> {
        self.probe.log.borrow().clone()
    }

    fn sent(&self) -> usize {
        self.bus.sent.borrow().len()
    }

    /// Lets everything happen that can.
    async fn settle(&self) {
        for _ in 0..1000 {
            yield_now().await;
        }
    }

    /// Sends one call, and says what came back: `ok` and the body's signature, or the error and its message.
    async fn ask<B: serde::Serialize + DynamicType>(&self, call: Builder<'_>, body: &B) -> String {
        match self.reply(call, body).await {
            Some(reply) if reply.message_type() == Type::Error => {
                let header = reply.header();
                let name = header.error_name().unwrap().as_str();
                let name = name.strip_prefix("org.freedesktop.DBus.Error.").unwrap_or(name);
                format!("{name}: {}", reply.body().deserialize::<&str>().unwrap())
            }
            Some(reply) => format!("ok {}", reply.body().signature()),
            None => "nothing".to_owned(),
        }
    }

    async fn reply<B: serde::Serialize + DynamicType>(&self, call: Builder<'_>, body: &B) -> Option<Message> {
        let before = self.sent();
        self.server.accept(call.build(body).unwrap());
        self.settle().await;
        self.bus.sent.borrow().get(before).cloned()
    }
}

/// A call from `:1.0`, who is root.
fn call<'m>(path: &'m str, interface: &'m str, member: &'m str) -> Builder<'m> {
    anonymous(path, member).interface(interface)
}

/// One that names no interface.
fn anonymous<'m>(path: &'m str, member: &'m str) -> Builder<'m> {
    Message::method_call(path, member).sender(":1.0").destination("test.Service")
}

/// Runs a test on a thread of its own, with a deadline.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Bench) -> F) {
    run_with(Limits::default(), test);
}

fn run_with<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done =
        async { tokio::time::timeout(Duration::from_secs(120), test(Bench::new(limits))).await.unwrap() };
    LocalSet::new().block_on(&runtime, done);
}
