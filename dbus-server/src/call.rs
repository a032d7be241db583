//! A call, and what a handler can do with it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::message::{Flags, Message};
use zbus::wire::{DynamicDeserialize, DynamicType, Type};

use crate::bus::Bus;
use crate::credentials::Credentials;
use crate::error_reply::ErrorReply;

/// How large a message may be on the system bus, dbus-daemon(1), `max_message_size`.
pub(crate) const REPLY_MAX: usize = 32 << 20;
/// How long the text of an error may be, in characters: as what a call has in it, twice, which it may quote.
const TEXT_MAX: usize = 2 << 20;
/// The error that has no name of its own.
const FAILED: &str = "org.freedesktop.DBus.Error.Failed";

/// A reply that can be sent.
#[derive(Debug)]
pub struct Reply(pub(crate) Message);

/// A method call that the tables allow.
#[derive(Clone)]
pub struct Call {
    message: Message,
    bus: Rc<dyn Bus>,
    /// Its place among the calls of its sender.
    pub turn: Turn,
}

impl Call {
    pub(crate) fn new(message: Message, bus: Rc<dyn Bus>) -> Self {
        Self { message, bus, turn: Turn::default() }
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// The arguments, of the types that the table says.
    ///
    /// # Errors
    /// `InvalidArgs`: they are not well-formed.
    pub fn arguments<T: for<'body> DynamicDeserialize<'body>>(&self) -> Result<T, ErrorReply> {
        self.message.body().deserialize().map_err(|error| ErrorReply::invalid_args(error.to_string()))
    }

    /// The first arguments, of these types, which the table has to say too. Those behind them are not looked at.
    ///
    /// # Errors
    /// `InvalidArgs`: they are not well-formed.
    pub fn first_arguments<T: DeserializeOwned + Type>(&self) -> Result<T, ErrorReply> {
        let read = self.message.body().deserialize_ignore_signature();
        read.map_err(|error| ErrorReply::invalid_args(error.to_string()))
    }

    /// The sender's unique name on the bus.
    pub fn sender(&self) -> String {
        self.message.header().sender().map(|name| name.as_str().to_owned()).unwrap_or_default()
    }

    /// Whether the sender allows that its user is asked whether it may.
    pub fn allows_interaction(&self) -> bool {
        self.message.primary_header().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH)
    }

    pub(crate) fn wants_reply(&self) -> bool {
        !self.message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
    }

    /// Who sent the call; asks the bus where it is not known yet.
    ///
    /// # Errors
    /// The bus does not say.
    pub async fn credentials(&self) -> Result<Rc<Credentials>, ErrorReply> {
        self.bus.credentials(self.sender()).await
    }

    /// A reply with these values.
    ///
    /// # Errors
    /// They make no message that a bus takes: a string has NUL in it, or they are too large. A bus throws off whoever
    /// sends it such a message.
    pub fn reply<B: Serialize + DynamicType>(&self, body: &B) -> Result<Reply, ErrorReply> {
        let reply = Message::method_return(&self.message.header()).build(body);
        let reply = reply.map_err(|error| ErrorReply::limits_exceeded(error.to_string()))?;
        if reply.data().len() > REPLY_MAX {
            return Err(ErrorReply::limits_exceeded("The reply is too large."));
        }
        reply.body().validate().map_err(|error| {
            tracing::error!("a reply cannot be sent: {error}");
            ErrorReply::failed("The reply has a text in it that cannot be sent.")
        })?;
        Ok(Reply(reply))
    }

    /// The error as a message that a bus takes, whatever its text is.
    pub(crate) fn error(&self, error: &ErrorReply) -> zbus::Result<Message> {
        let text: String =
            error.message.chars().take(TEXT_MAX).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        let named = |name: &str| Message::error(&self.message.header(), name).build(&text);
        // A name that is none was made up elsewhere; the caller must not wait for ever.
        named(&error.name).or_else(|_| named(FAILED))
    }
}

/// The place of a call among those of its sender. The calls behind it begin when it is answered, so that what it does
/// is done before what they do; or when it lets them pass, because it waits for something that is none of theirs.
#[derive(Clone, Default, Debug)]
pub struct Turn(Rc<Cell<bool>>);

impl Turn {
    /// Lets the calls behind this one begin.
    pub fn pass(&self) {
        self.0.set(true);
    }

    /// Lets the calls behind this one begin as soon as `work` has to wait. What it does before that comes first.
    pub async fn passing<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let done = work.as_mut().poll(context);
            if done.is_pending() {
                self.pass();
            }
            done
        })
        .await
    }

    /// Runs `work` until it is done or lets others pass; then it is handed back.
    pub(crate) async fn hold<F: Future<Output = ()> + Unpin>(&self, mut work: F) -> Option<F> {
        let passed = poll_fn(|context| match std::pin::Pin::new(&mut work).poll(context) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending if self.0.get() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        });
        passed.await.then_some(work)
    }
}
