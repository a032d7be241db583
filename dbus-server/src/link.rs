//! A connection to a bus, as the server uses it.
//!
//! All messages go out through one queue, so that a signal is ahead of the reply that was sent after it, and through
//! one task, which no caller can give up half-way through a message.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use futures_core::Stream;
use tokio::sync::{Notify, mpsc};
use zbus::{Connection, Message, MessageStream};

use crate::bus::{Bus, LocalFuture};
use crate::credentials::Credentials;
use crate::error_reply::ErrorReply;
use crate::inquiry::describe;
use crate::readers::Readers;
use crate::server::Server;

/// A bus that never pauses lets others run after so many messages.
const TURN: usize = 32;
/// How many messages are written at a time.
const BATCH: usize = 32;
/// With so many bytes on their way out, no more calls are taken in.
const BACKLOG: usize = 16 << 20;
/// How many senders are remembered. Unique names are never used twice by one bus.
const KNOWN: usize = 64;

const BUS: &str = "org.freedesktop.DBus";

/// The sending side.
pub struct Link {
    connection: Connection,
    outbox: mpsc::UnboundedSender<Message>,
    backlog: Rc<Backlog>,
    known: Rc<Known>,
    readers: Rc<Readers>,
}

/// Who is behind unique names, the latest at the end.
type Known = RefCell<VecDeque<(String, Rc<Credentials>)>>;

#[derive(Default)]
struct Backlog {
    bytes: Cell<usize>,
    is_shorter: Notify,
}

impl Backlog {
    fn sent(&self, message: &Message) {
        self.bytes.set(self.bytes.get().saturating_sub(message.data().len()));
        self.is_shorter.notify_one();
    }

    async fn is_short(&self) {
        while self.bytes.get() > BACKLOG {
            self.is_shorter.notified().await;
        }
    }
}

impl Bus for Link {
    fn send(&self, message: Message) {
        let length = message.data().len();
        self.backlog.bytes.set(self.backlog.bytes.get().saturating_add(length));
        if let Some(destination) = message.header().destination() {
            self.readers.sent(destination.as_str(), length);
        }
        // Nobody takes it when the connection has ended.
        let _ = self.outbox.send(message);
    }

    fn unread(&self, name: &str) -> Option<LocalFuture<()>> {
        let (readers, connection) = (self.readers.clone(), self.connection.clone());
        let name = readers.is_doubted(name).then(|| name.to_owned())?;
        Some(Box::pin(async move { readers.wait_for(&connection, name).await }))
    }

    fn credentials(&self, name: String) -> LocalFuture<Result<Rc<Credentials>, ErrorReply>> {
        let known = self.known.borrow().iter().find(|(known, _)| *known == name).map(|(_, who)| who.clone());
        if let Some(who) = known {
            return Box::pin(std::future::ready(Ok(who)));
        }
        let (connection, known) = (self.connection.clone(), self.known.clone());
        Box::pin(async move {
            let who = Rc::new(ask(connection, name.clone()).await?);
            let mut known = known.borrow_mut();
            if known.len() >= KNOWN {
                known.pop_front();
            }
            known.push_back((name, who.clone()));
            Ok(who)
        })
    }
}

async fn ask(connection: Connection, name: String) -> Result<Credentials, ErrorReply> {
    let unknown = |reason: &str| {
        ErrorReply::new(
            "org.freedesktop.DBus.Error.AccessDenied",
            format!("Who calls is not known: {reason}"),
        )
    };
    let entries = describe(&connection, BUS, "GetConnectionCredentials", name).await;
    let entries = entries.map_err(|error| unknown(&error.to_string()))?;
    Credentials::of_dictionary(entries).ok_or_else(|| unknown("the bus does not say"))
}

/// What goes in and out of a connection, and the place where messages for it are put.
pub struct Traffic {
    connection: Connection,
    messages: MessageStream,
    out: mpsc::UnboundedReceiver<Message>,
    backlog: Rc<Backlog>,
}

impl Link {
    /// Gets hold of a connection. From this call on no message is missed; they are taken in by [`Traffic::run`].
    pub fn new(connection: &Connection) -> (Rc<Self>, Traffic) {
        let (outbox, out) = mpsc::unbounded_channel();
        let backlog = Rc::new(Backlog::default());
        let messages = MessageStream::from(connection);
        let traffic = Traffic { connection: connection.clone(), messages, out, backlog: backlog.clone() };
        let link = Self {
            connection: connection.clone(),
            outbox,
            backlog,
            known: Rc::default(),
            readers: Rc::default(),
        };
        (Rc::new(link), traffic)
    }
}

/// Shows `hear` every message that comes in, until the connection ends: of one that nothing is served on.
pub async fn listen(messages: MessageStream, hear: impl Fn(&Message)) {
    let mut messages = messages;
    while let Some(message) = poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await {
        match message {
            Ok(message) => hear(&message),
            Err(error) => tracing::debug!("the peer: {error}"),
        }
    }
}

impl Traffic {
    /// Serves until the connection ends, inside a `LocalSet`. Every message that comes in is shown to `hear` first.
    pub async fn run<C: 'static, O: Clone + 'static>(
        mut self,
        server: Rc<Server<C, O>>,
        hear: impl Fn(&Message),
    ) {
        let read = async {
            for turn in 1_usize.. {
                self.backlog.is_short().await;
                if turn.is_multiple_of(TURN) {
                    tokio::task::yield_now().await;
                }
                match poll_fn(|context| Pin::new(&mut self.messages).poll_next(context)).await {
                    Some(Ok(message)) => {
                        hear(&message);
                        server.accept(message);
                    }
                    Some(Err(error)) => tracing::debug!("the bus: {error}"),
                    None => return,
                }
            }
        };
        let write = async {
            let mut batch = Vec::with_capacity(BATCH);
            while self.out.recv_many(&mut batch, BATCH).await > 0 {
                if let Err(error) = self.connection.send_all(&batch).await {
                    return tracing::debug!("cannot write to the bus: {error}");
                }
                batch.drain(..).for_each(|message| self.backlog.sent(&message));
            }
        };
        // What is read is answered, and then what was answered is written.
        tokio::select! {
            biased;
            () = read => {}
            () = write => {}
        }
        // Whoever shares the connection hears of its end.
        if let Err(error) = self.connection.close().await {
            tracing::debug!("cannot close the connection to the bus: {error}");
        }
    }
}
