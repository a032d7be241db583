//! The server: what all calls share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Serialize;
use zbus::message::{Message, Type};
use zbus::wire::DynamicType;

use crate::bus::Bus;
use crate::call::Call;
use crate::error_reply::ErrorReply;
use crate::queue::{Limits, Queues};
use crate::rounds::Rounds;
use crate::table::Object;

/// Objects over the state `C` of a daemon, served on one connection to a bus.
pub struct Server<C: 'static, O: Clone + 'static> {
    pub(crate) context: Rc<C>,
    pub(crate) objects: &'static [Object<C, O>],
    pub(crate) bus: Rc<dyn Bus>,
    pub(crate) queues: RefCell<Queues>,
    pub(crate) rounds: RefCell<Rounds>,
    /// Whether a task gives turns out.
    pub(crate) is_giving: Cell<bool>,
}

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// Prepares to serve.
    pub fn new(
        context: Rc<C>,
        objects: &'static [Object<C, O>],
        bus: Rc<dyn Bus>,
        limits: Limits,
    ) -> Rc<Self> {
        Rc::new(Self {
            context,
            objects,
            bus,
            queues: RefCell::new(Queues::new(limits)),
            rounds: RefCell::default(),
            is_giving: Cell::new(false),
        })
    }

    /// Takes in a message. A call is answered by a task, when it is its sender's turn; anything else is none of ours. Never
    /// waits. To be called inside a `LocalSet`.
    pub fn accept(self: &Rc<Self>, message: Message) {
        if message.message_type() != Type::MethodCall {
            return;
        }
        let call = Call::new(message, self.bus.clone());
        let queued = self.queues.borrow_mut().push(call.clone());
        match queued {
            Ok(true) => self.line_up(call.sender()),
            Ok(false) => {}
            Err(refusal) => self.refuse(&call, &refusal),
        }
    }

    /// Sends a signal.
    pub fn emit<B: Serialize + DynamicType>(&self, path: &str, interface: &str, member: &str, body: &B) {
        match Message::signal(path, interface, member).build(body) {
            Ok(signal) => self.bus.send(signal),
            Err(error) => {
                tracing::error!("cannot make a message of the signal {interface}.{member}: {error}")
            }
        }
    }

    pub(crate) fn refuse(&self, call: &Call, error: &ErrorReply) {
        if !call.wants_reply() {
            return;
        }
        match call.error(error) {
            Ok(message) => self.bus.send(message),
            Err(failed) => tracing::error!("cannot make a message of the error {}: {failed}", error.name),
        }
    }
}
