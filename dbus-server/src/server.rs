//! The server: what all calls share.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;

use serde::Serialize;
use zbus::message::{Message, Type};
use zbus::wire::DynamicType;

use crate::call::Call;
use crate::credentials::Credentials;
use crate::error_reply::ErrorReply;
use crate::queue::Queues;
use crate::table::Object;

/// A future of one thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The bus, as the server needs it.
pub trait Bus {
    /// Sends a message after those that were sent before it. Never waits.
    fn send(&self, message: Message);

    /// Waits until a sender has read what was sent to it, but for a little; `None`: it has, as far as is known.
    fn unread(&self, name: &str) -> Option<LocalFuture<()>>;

    /// Who is behind a unique name.
    fn credentials(&self, name: String) -> LocalFuture<Result<Rc<Credentials>, ErrorReply>>;
}

/// What a server takes in at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many bytes a call may have.
    pub message: usize,
    /// How many calls of one sender may wait or be worked on.
    pub calls: usize,
    /// How many bytes they may have together.
    pub bytes: usize,
    /// How many bytes the calls of all senders may have together.
    pub all_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 1 << 20, calls: 4096, bytes: 8 << 20, all_bytes: 64 << 20 }
    }
}

/// Objects over the state `C` of a daemon, served on one connection to a bus.
pub struct Server<C: 'static, O: Clone + 'static> {
    pub(crate) context: Rc<C>,
    pub(crate) objects: &'static [Object<C, O>],
    pub(crate) bus: Rc<dyn Bus>,
    pub(crate) queues: RefCell<Queues>,
}

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// Prepares to serve.
    pub fn new(
        context: Rc<C>,
        objects: &'static [Object<C, O>],
        bus: Rc<dyn Bus>,
        limits: Limits,
    ) -> Rc<Self> {
        Rc::new(Self { context, objects, bus, queues: RefCell::new(Queues::new(limits)) })
    }

    /// Takes in a message. A call is answered at once if it waits for nothing and none of its sender is before it, and in
    /// time by a task otherwise; anything else is none of ours. Never waits. To be called inside a `LocalSet`.
    pub fn accept(self: &Rc<Self>, message: Message) {
        if message.message_type() != Type::MethodCall {
            return;
        }
        let call = Call::new(message, self.bus.clone());
        let queued = self.queues.borrow_mut().push(call.clone());
        match queued {
            Ok(true) => self.begin(call.sender()),
            Ok(false) => {}
            Err(refusal) => self.refuse(&call, &refusal),
        }
    }

    /// Sends a signal.
    pub fn emit<B: Serialize + DynamicType>(&self, path: &str, interface: &str, member: &str, body: &B) {
        match Message::signal(path, interface, member).build(body) {
            Ok(signal) => self.bus.send(signal),
            Err(error) => tracing::error!("signal {interface}.{member} makes no message: {error}"),
        }
    }

    pub(crate) fn refuse(&self, call: &Call, error: &ErrorReply) {
        if !call.wants_reply() {
            return;
        }
        match call.error(error) {
            Ok(message) => self.bus.send(message),
            Err(failed) => tracing::error!("error {} makes no message: {failed}", error.name),
        }
    }
}
