//! A small service on real sockets, and its clients.

mod calls;
mod descriptors;
mod introspection;
mod limits;
mod listening;
mod misuse;
mod speed;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::service::LogControl;
use super::*;

const ABOUT: About = About { vendor: "tests", product: "probe", version: "1.2", url: "" };

/// The state of the service under test.
#[derive(Default)]
struct Probe {
    level: Cell<u8>,
    calls: Cell<usize>,
    waiting: Notify,
    dropped: Rc<Notify>,
}

impl LogControl for Probe {
    fn log_level(&self) -> u8 {
        self.level.get()
    }

    fn set_log_level(&self, level: u8) {
        self.level.set(level);
    }
}

const PROBE: &str = "interface test.Probe\nmethod Echo(text: string) -> (text: string)\n\
    method Count(to: int, size: ?int) -> (n: int)\nmethod Wait() -> ()\nmethod Fail() -> ()\n\
    method Tick() -> (n: int)\n\
    method Open(to: ?int) -> (fd: int)\nerror Failed()\n";

const METHODS: &[Method<Probe>] = &[
    Method {
        name: "Echo",
        more: More::No,
        rules: &[],
        descriptors: Descriptors::None,
        handler: |c, call, r| Box::pin(echo(c, call, r)),
    },
    Method {
        name: "Count",
        more: More::Supported,
        rules: &[],
        descriptors: Descriptors::None,
        handler: |_, call, r| Box::pin(count(call, r)),
    },
    Method {
        name: "Wait",
        more: More::No,
        rules: &[],
        descriptors: Descriptors::None,
        handler: |c, _, r| Box::pin(wait(c, r)),
    },
    Method {
        name: "Fail",
        more: More::No,
        rules: &[],
        descriptors: Descriptors::None,
        handler: |_, _, _| Box::pin(async { Err(FAILED) }),
    },
    Method {
        name: "Open",
        more: More::Supported,
        rules: &[],
        descriptors: Descriptors::Sent,
        handler: |_, call, r| Box::pin(descriptors::open(call, r)),
    },
    Method {
        name: "Tick",
        more: More::Required,
        rules: &[],
        descriptors: Descriptors::None,
        handler: |c, _, r| Box::pin(tick(c, r)),
    },
];

const FAILED: ErrorReply = ErrorReply::named("test.Probe.Failed");

async fn echo(context: Rc<Probe>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    context.calls.update(|calls| calls + 1);
    replier.reply(&json!({"text": call.parameters["text"]}))
}

async fn count(call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let to = call.parameters["to"].as_u64().unwrap();
    let size = call.parameters.get("size").and_then(Value::as_u64).unwrap_or(0);
    let pad = "x".repeat(usize::try_from(size).unwrap());
    let items = (0..to).map(|n| if pad.is_empty() { json!({"n": n}) } else { json!({"n": n, "pad": pad}) });
    replier.reply_all(items).await?.ok_or(FAILED)
}

/// Announces when it is dropped.
struct Guard(Rc<Notify>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn wait(context: Rc<Probe>, replier: Replier) -> Result<Done, ErrorReply> {
    let _guard = Guard(context.dropped.clone());
    context.waiting.notified().await;
    replier.reply(&())
}

/// One reply at once, and another when told to.
async fn tick(context: Rc<Probe>, mut replier: Replier) -> Result<Done, ErrorReply> {
    let _guard = Guard(context.dropped.clone());
    replier.send(&json!({"n": 1})).await?;
    context.waiting.notified().await;
    replier.reply(&json!({"n": 2}))
}

fn settings() -> Settings {
    Settings {
        limits: Limits { total: 100, per_uid: 100 },
        write_deadline: Duration::from_secs(30),
        large_messages: 64 << 20,
        pidfds: true,
        only: None,
        closer: None,
        turns: Default::default(),
    }
}

struct Bench {
    server: Rc<Server<Probe>>,
    probe: Rc<Probe>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self::with(settings, Vec::new())
    }

    /// With these interfaces more.
    fn with(settings: Settings, mut interfaces: Vec<Interface<Probe>>) -> Self {
        let probe = Rc::new(Probe::default());
        interfaces.push(Interface { description: PROBE, methods: METHODS });
        interfaces.push(service::interface());
        let server = Server::new(probe.clone(), ABOUT, interfaces, settings).unwrap();
        Self { server, probe }
    }

    /// A client of this very process, privileged therefore.
    fn client(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.server.adopt(theirs.into_std().unwrap().into());
        Client(ours)
    }

    /// Waits until the server has noticed the end of all connections.
    async fn quiet(&self) {
        while self.server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs one test, which has to end in time.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = async { tokio::time::timeout(Duration::from_secs(120), test).await };
    LocalSet::new().block_on(&runtime, deadline).expect("the test took too long")
}

struct Client(UnixStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.write_all(b"\0").await.unwrap();
    }

    /// The next message, as text.
    async fn receive(&mut self) -> String {
        let mut message = Vec::new();
        loop {
            match self.0.read_u8().await.unwrap() {
                0 => return String::from_utf8(message).unwrap(),
                byte => message.push(byte),
            }
        }
    }

    async fn call(&mut self, text: &str) -> String {
        self.send(text).await;
        self.receive().await
    }

    /// Whether the server has closed the connection, without another word.
    async fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 16]).await {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

fn echo_call(text: &str) -> String {
    json!({"method": "test.Probe.Echo", "parameters": {"text": text}}).to_string()
}

fn echo_reply(text: &str) -> String {
    json!({"parameters": {"text": text}}).to_string()
}

/// A directory for one test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("varlink-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Connects as user `uid`, from a thread of its own; `None` when only root could do that and we are not.
fn connect_as(uid: u32, path: &Path) -> Option<UnixStream> {
    let path = path.to_owned();
    let connect = move || {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).ok()?;
        Some(std::os::unix::net::UnixStream::connect(path).unwrap())
    };
    let stream = std::thread::spawn(connect).join().unwrap()?;
    stream.set_nonblocking(true).unwrap();
    Some(UnixStream::from_std(stream).unwrap())
}
